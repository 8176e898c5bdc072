// What people, `sheaf up` and the kernel write: configuration, options, addresses, markers.

#include "tests/fuzz/corpus.h"
#include "tests/fuzz/input.h"

namespace sheaf::fuzz {
namespace {

constexpr char kStorageToml[] =
    "meta = \"127.0.0.1:7700\"   # the manager\n"
    "targets = [\"/data/0\", '/data/1']\n"
    "listen = \"0.0.0.0:7710\"\n"
    "grpc = \"[::1]:7711\"\n"
    "metrics = \"\"\n"
    "unix_path = \"/run/sheaf/storage.sock\"\n"
    "advertise = \"storage-0.example\"\n"
    "reactors = 2\nbuffer_mib = 0x100\nslab_mib = 1_024\n"
    "[log]\nfile = \"/var/log/sheaf/storage.log\"\nlevel = \"info\"\n";

constexpr char kMetaToml[] =
    "# Sheaf metadata service.\n"
    "listen = \"127.0.0.1:7700\"    # gRPC\n"
    "metrics = \"127.0.0.1:7701\"   # Prometheus text over HTTP\n"
    "data_dir = \"/srv/sheaf/data/meta\"\n";

constexpr char kMountInfo[] =
    "22 1 0:21 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/a\n"
    "36 22 98:0 /root /mnt/with\\040space rw,noatime master:1 - ext4 /dev/sda1 rw\n"
    "40 22 0:55 / /mnt/sheaf rw,nosuid - fuse.sheaf 127.0.0.1:7700 rw,user_id=0\n";

}  // namespace

void WriteTextInputs(const std::filesystem::path& root) {
  const auto addresses = {"127.0.0.1:7700", "host.example:1", "[::1]:65535", "unix:/run/a.sock"};
  int number = 0;
  for (const char* text : addresses) WriteInput(root, "address", std::to_string(number++), text);

  WriteInput(root, "config", "storage", kStorageToml);
  WriteInput(root, "config", "small", "meta = \"a:1\"\ntargets = [\"/d\"]\n");

  const std::string list =
      "allow_other,ro,noatime,attr_timeout=0.5,max_threads=8,data_timeout_ms=9";
  WriteInput(root, "mount_options", "list", '\0' + list);
  using namespace std::string_literals;
  WriteInput(root, "mount_options", "command",
             "\1--meta\0host:7700\0-o\0ro,nodev\0--foreground\0/mnt"s);
  WriteInput(root, "mount_options", "version", "\1--version"s);

  WriteInput(root, "mountinfo", "three", '\1' + std::string(kMountInfo));
  WriteInput(root, "mountinfo", "size", "\0001.5GiB"s);
  WriteInput(root, "mountinfo", "bytes", "\0004096"s);

  const std::string uuid = "1b4e28ba-2fa1-41d2-883f-0016d3cca427\n";
  const std::string marker = "sheaf state directory\nkind=storage-target\nformat=1\nuuid=" + uuid;
  WriteInput(root, "state_files", "marker", '\0' + marker);
  WriteInput(root, "state_files", "marker-create", '\1' + marker);
  WriteInput(root, "state_files", "node", '\2' + uuid);
  WriteInput(root, "state_files", "cluster", '\3' + uuid);
  WriteInput(root, "state_files", "local",
             '\4' + Piece("# Written by `sheaf up`.\nstorage = 3\nmount = \"/root/.sheaf/mnt\"\n") +
                 kMetaToml);
}

}  // namespace sheaf::fuzz
