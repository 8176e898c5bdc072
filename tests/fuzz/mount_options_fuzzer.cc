// What a mount is told, by a person, /etc/fstab or mount(8): -o lists and whole command lines (the
// arguments stand between NULs). The first byte chooses which. What is accepted is within its
// bounds, and the list that goes on to the kernel has nothing in it that was not asked for by name.

#include <set>

#include "fuse/options.h"
#include "tests/fuzz/input.h"

namespace sheaf::fuse {
namespace {

const std::set<std::string> kFlags = {"nosuid",     "suid",     "nodev",  "dev",  "noexec",
                                      "exec",       "noatime",  "atime",  "sync", "async",
                                      "nodiratime", "relatime", "dirsync"};

void CheckAccepted(const MountOptions& options) {
  for (const auto timeout :
       {options.attr_timeout, options.entry_timeout, options.negative_timeout}) {
    CHECK(timeout.count() >= 0 && timeout.count() <= 86'400, "a timeout out of its range");
  }
  CHECK(options.max_threads >= 1 && options.max_threads <= 4096);
  CHECK(options.read_ahead_kib <= 1 << 20);
  CHECK(options.meta_timeout.count() >= 1 && options.meta_timeout.count() <= 3'600'000);
  CHECK(options.data_timeout.count() >= 1 && options.data_timeout.count() <= 3'600'000);
  for (const std::string& flag : options.kernel_options) CHECK(kFlags.contains(flag), flag);
}

void FuzzList(std::string_view list) {
  MountOptions options;
  const Status status = ApplyMountOptions(list, &options);
  if (!status.ok()) {
    CHECK(status.code() == Code::kUsage && !status.message().empty());
    return;
  }
  CheckAccepted(options);
}

void FuzzCommandLine(std::string_view text) {
  std::vector<std::string> arguments;
  while (!text.empty()) {
    const size_t end = text.find('\0');
    arguments.emplace_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  const auto line = ParseCommandLine(arguments);
  if (!line.ok()) {
    CHECK(line.status().code() == Code::kUsage && !line.status().message().empty());
    return;
  }
  if (line->action != CommandLine::Action::kMount) {
    CHECK(!line->text.empty());
    return;
  }
  CheckAccepted(line->options);
  CHECK(!line->options.directory.empty() && !line->options.meta_address.empty());
  const std::string kernel = KernelOptions(line->options);
  const auto commas = static_cast<size_t>(std::count(kernel.begin(), kernel.end(), ','));
  const size_t own = 3 + (line->options.default_permissions ? 1 : 0) +
                     (line->options.allow_other ? 1 : 0);  // subtype, max_read, ro or rw
  CHECK(commas == own + line->options.kernel_options.size(), "an option in another's value");
}

}  // namespace
}  // namespace sheaf::fuse

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sheaf::fuzz::Input input(data, size);
  if (input.TakeByte() % 2 == 0) {
    sheaf::fuse::FuzzList(input.TakeRest());
  } else {
    sheaf::fuse::FuzzCommandLine(input.TakeRest());
  }
  return 0;
}
