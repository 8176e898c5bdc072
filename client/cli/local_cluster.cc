#include "client/cli/local_cluster.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/config.h"
#include "common/listen_probe.h"

namespace sheaf::cli {
namespace {

constexpr const char* kHost = "127.0.0.1";
constexpr uint16_t kFirstPort = 7700;  // meta; the first storage server ten above
constexpr int kPortStep = 10;
constexpr uint32_t kFormatVersion = 1;
constexpr const char* kKind = "local-cluster";
const std::vector<std::string> kMetaKeys = {"listen", "metrics", "framed"};
const std::vector<std::string> kStorageKeys = {"listen", "grpc", "metrics"};
const std::vector<std::string> kMountKeys = {"metrics"};
constexpr uint16_t kMountPort = 7703;

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string ReadText(const std::string& path) {
  std::ostringstream text;
  std::ifstream file(path, std::ios::binary);
  if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  return text.str();
}

Status WriteText(const std::filesystem::path& path, const std::string& text) {
  const std::string directory = path.parent_path().string();
  UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.IsOpen()) return Status::FromErrno(errno, "open " + directory);
  return WriteFileDurably(fd.get(), path.filename().string(), text, directory);
}

Status MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return Status::Ok();
  return Status::FromErrno(errno, "create directory " + path);
}

std::string AddressOf(uint16_t port) { return std::string(kHost) + ":" + std::to_string(port); }

uint16_t PortOf(const std::string& address) {
  const std::string digits = address.substr(address.rfind(':') + 1);
  uint16_t port = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), port);
  return port;
}

// Start and end of the value's characters in a top-level line `key = "value"`.
std::pair<size_t, size_t> FindValue(const std::string& toml, const std::string& key) {
  size_t at = 0;
  while (at < toml.size() && toml[at] != '[') {
    const size_t line_end = std::min(toml.find('\n', at), toml.size());
    const size_t open = toml.find('"', at);
    const std::string before = open < line_end ? toml.substr(at, open - at) : "";
    const size_t equals = before.find('=');
    if (equals != std::string::npos) {
      const size_t last = before.find_last_not_of(" \t", equals - (equals > 0));
      const size_t close = toml.find('"', open + 1);
      if (before.substr(0, last + 1) == key && close < line_end) return {open + 1, close};
    }
    at = line_end + 1;
  }
  return {std::string::npos, std::string::npos};
}

}  // namespace

std::string FindAddress(const std::string& toml, const std::string& key) {
  const auto [begin, end] = FindValue(toml, key);
  return begin == std::string::npos ? "" : toml.substr(begin, end - begin);
}

std::string ReplaceAddress(const std::string& toml, const std::string& key,
                           const std::string& address) {
  const auto [begin, end] = FindValue(toml, key);
  if (begin == std::string::npos) return toml;
  return toml.substr(0, begin) + address + toml.substr(end);
}

uint16_t ChoosePorts(uint16_t preferred, int count, std::set<uint16_t>* taken,
                     const std::function<bool(uint16_t)>& is_free) {
  for (int base = preferred; base + count <= 65536; base += kPortStep) {
    bool usable = true;
    for (int port = base; usable && port < base + count; ++port) {
      usable = !taken->contains(static_cast<uint16_t>(port)) && is_free(static_cast<uint16_t>(port));
    }
    if (!usable) continue;
    for (int port = base; port < base + count; ++port) taken->insert(static_cast<uint16_t>(port));
    return static_cast<uint16_t>(base);
  }
  return 0;
}

Result<LocalCluster> LocalCluster::Open(const std::string& directory, bool create) {
  ASSIGN_OR_RETURN(StateDir lock, StateDir::Open(directory, kKind, kFormatVersion, create));
  std::error_code failed;
  const auto absolute = std::filesystem::canonical(directory, failed);
  if (failed) return Status(Code::kIo, "state directory " + directory + ": " + failed.message());
  LocalCluster cluster(absolute.string(), std::move(lock));
  for (const char* each : {"config", "data", "log", "run"}) {
    RETURN_IF_ERROR(MakeDirectory(cluster.Path(each)));
  }
  RETURN_IF_ERROR(cluster.LoadSettings());
  return cluster;
}

Status LocalCluster::LoadSettings() {
  const std::string path = Path("cluster.toml");
  settings_.mount = Path("mnt");
  if (!std::filesystem::exists(path)) return Status::Ok();
  ASSIGN_OR_RETURN(ConfigFile file, ConfigFile::Load(path));
  file.Read("storage", &settings_.storage, 1, kMaxLocalStorage);
  file.Read("mount", &settings_.mount);
  RETURN_IF_ERROR(file.Finish());
  has_settings_ = true;
  return Status::Ok();
}

Status LocalCluster::SaveSettings(const Settings& settings) {
  settings_ = settings;
  has_settings_ = true;
  return WriteText(Path("cluster.toml"),
                   "# Written by `sheaf up`.\nstorage = " + std::to_string(settings.storage) +
                       "\nmount = " + Quoted(settings.mount) + "\n");
}

Daemon LocalCluster::Make(const std::string& name, const std::string& program) const {
  Daemon daemon;
  daemon.name = name;
  // Not found: the name alone, for those that only look for what runs.
  auto binary = FindBinary(program);
  daemon.binary = binary.ok() ? *binary : program;
  daemon.pid_file = Path("run/" + name + ".pid");
  daemon.output_file = Path("log/" + name + ".out");
  daemon.log_file = Path("log/" + name + ".log");
  return daemon;
}

Daemon LocalCluster::Meta() const {
  Daemon daemon = Make("meta", "sheaf-meta");
  daemon.arguments = {"--config", ConfigPath("meta")};
  return daemon;
}

Daemon LocalCluster::Storage(uint32_t i) const {
  const std::string name = "storage-" + std::to_string(i);
  Daemon daemon = Make(name, "sheaf-storage");
  daemon.arguments = {"--config", ConfigPath(name)};
  return daemon;
}

Daemon LocalCluster::Mount() const {
  Daemon daemon = Make("mount", "sheaf-fuse");
  daemon.arguments = {"--meta", MetaAddress(), "--foreground", "--config", ConfigPath("mount")};
  // Root's mount is everyone's, as a local disk's is; the kernel checks permissions.
  if (geteuid() == 0) daemon.arguments.insert(daemon.arguments.end(), {"-o", "allow_other"});
  daemon.arguments.push_back(settings_.mount);
  return daemon;
}

std::vector<Daemon> LocalCluster::Daemons() const {
  std::vector<Daemon> daemons = {Meta()};
  for (uint32_t i = 0; i < settings_.storage; ++i) daemons.push_back(Storage(i));
  daemons.push_back(Mount());
  return daemons;
}

std::string LocalCluster::MetaAddress() const {
  return FindAddress(ReadText(ConfigPath("meta")), "listen");
}

std::string LocalCluster::MetaTemplate() const {
  return "# Sheaf metadata service. Made by `sheaf up`; yours to edit (`sheaf-meta --help`).\n"
         "listen = \"\"    # gRPC\n"
         "metrics = \"\"   # Prometheus text over HTTP\n"
         "framed = \"\"    # framed calls of clients\n"
         "data_dir = " +
         Quoted(Path("data/meta")) + "\n" + SocketLine("meta") + LogTemplate("meta");
}

std::string LocalCluster::MountTemplate() const {
  return "# Sheaf's mount. Made by `sheaf up`; yours to edit (`sheaf-fuse --help`).\n"
         "metrics = \"\"   # Prometheus text over HTTP\n" +
         LogTemplate("mount");
}

std::string LocalCluster::LogTemplate(const std::string& name) const {
  return "\n[log]         # read again on SIGHUP\nfile = " + Quoted(Path("log/" + name + ".log")) +
         "\nlevel = \"info\"\nmax_file_mib = 64\nmax_files = 4\n";
}

std::string LocalCluster::StorageTemplate(uint32_t i) const {
  const std::string name = "storage-" + std::to_string(i);
  const std::string text =
      "# Sheaf storage server. Made by `sheaf up`; yours to edit (`sheaf-storage --help`).\n"
      "meta = \"\"\n"
      "listen = \"\"    # framed data path\n"
      "grpc = \"\"      # data service for stock gRPC clients\n"
      "metrics = \"\"   # Prometheus text over HTTP\n"
      "targets = [" + Quoted(Path("data/" + name)) + "]\n";
  return text + SocketLine(name) + LogTemplate(name);
}

// A path that is too long is no socket address; TCP does as well.
std::string LocalCluster::SocketLine(const std::string& name) const {
  const std::string socket = Path("run/" + name + ".sock");
  if (socket.size() >= sizeof(sockaddr_un::sun_path)) return "";
  return "unix_path = " + Quoted(socket) + "\n";
}

Result<bool> LocalCluster::WriteConfigurations(
    const std::function<bool(const std::string&)>& running) {
  std::set<uint16_t> taken;
  const auto is_free = [](uint16_t port) { return ProbeListen(AddressOf(port)).ok(); };
  bool moved = false;

  struct File {
    std::string name, text;
    const std::vector<std::string>* keys;
    bool existed;
    uint16_t preferred;
    bool known_to_others;  // who would have to be told of a new port
  };
  std::vector<File> files;
  for (uint32_t i = 0; i <= settings_.storage; ++i) {
    const std::string name = i == 0 ? "meta" : "storage-" + std::to_string(i - 1);
    std::string text = ReadText(ConfigPath(name));
    const bool existed = !text.empty();
    if (!existed) text = i == 0 ? MetaTemplate() : StorageTemplate(i - 1);
    files.push_back({name, text, i == 0 ? &kMetaKeys : &kStorageKeys, existed,
                     static_cast<uint16_t>(kFirstPort + kPortStep * i), true});
  }
  const std::string mount = ReadText(ConfigPath("mount"));
  files.push_back({"mount", mount.empty() ? MountTemplate() : mount, &kMountKeys, !mount.empty(),
                   kMountPort, false});
  // What runs or has its ports free keeps them; only then the others choose.
  std::vector<File*> to_move;
  for (File& file : files) {
    bool keeps = file.existed;
    for (const std::string& key : *file.keys) {
      const std::string address = FindAddress(file.text, key);
      if (!address.empty()) taken.insert(PortOf(address));
      keeps = keeps && (running(file.name) || address.empty() || ProbeListen(address).ok());
    }
    if (!keeps) to_move.push_back(&file);
  }
  for (File* file : to_move) {
    const int count = static_cast<int>(file->keys->size());
    const uint16_t base = ChoosePorts(file->preferred, count, &taken, is_free);
    if (base == 0) {
      return Status(Code::kExists, "choose ports for " + file->name + ": none of " +
                                       std::to_string(file->preferred) + " to 65535 is free");
    }
    for (int k = 0; k < count; ++k) {
      file->text = ReplaceAddress(file->text, (*file->keys)[k],
                                  AddressOf(static_cast<uint16_t>(base + k)));
    }
    moved = moved || (file->existed && file->known_to_others);
  }
  const std::string meta = FindAddress(files[0].text, "listen");
  for (size_t i = 1; i < files.size(); ++i) {
    files[i].text = ReplaceAddress(files[i].text, "meta", meta);  // the mount's has no such line
  }
  for (const File& file : files) {
    if (file.text == ReadText(ConfigPath(file.name))) continue;
    RETURN_IF_ERROR(WriteText(ConfigPath(file.name), file.text));
  }
  RETURN_IF_ERROR(WriteText(Path("meta.addr"), meta + "\n"));
  return moved;
}

}  // namespace sheaf::cli
