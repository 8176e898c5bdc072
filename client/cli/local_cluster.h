#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "client/cli/process.h"
#include "common/state_dir.h"
#include "common/status.h"

namespace sheaf::cli {

inline constexpr uint32_t kMaxLocalStorage = 64;  // storage servers of one `sheaf up`

// The files of a cluster on one machine, under the directory that --dir names:
//
//   cluster.toml   how many storage servers, where it is mounted
//   meta.addr      "host:port" of the metadata service, one line
//   config/        meta.toml, storage-0.toml, ..., mount.toml: written once, then the operator's;
//                  only addresses are changed, when another program has taken their ports
//   data/          meta/, storage-0/, ...
//   log/ run/      logs; pid files and Unix sockets
//   mnt/           the default mount point
//
// Held by one `sheaf up` or `sheaf down` at a time. Not thread-safe.
class LocalCluster {
 public:
  // `create` makes the directory; otherwise it must be there.
  static Result<LocalCluster> Open(const std::string& directory, bool create);

  struct Settings {
    uint32_t storage = 3;
    std::string mount;
  };
  // False until the first `up` has written them.
  bool HasSettings() const { return has_settings_; }
  const Settings& settings() const { return settings_; }
  Status SaveSettings(const Settings& settings);

  Daemon Meta() const;
  Daemon Storage(uint32_t i) const;
  Daemon Mount() const;
  // All, in the order they are started in.
  std::vector<Daemon> Daemons() const;

  const std::string& directory() const { return directory_; }
  // Of config/meta.toml; empty before it is written.
  std::string MetaAddress() const;
  // Writes the configurations that are missing, moves taken ports, writes meta.addr. `running` says
  // whether a daemon of that name runs: its ports are its own. Answers whether any address of a
  // configuration that was there has changed.
  Result<bool> WriteConfigurations(const std::function<bool(const std::string&)>& running);

 private:
  LocalCluster(std::string directory, StateDir lock)
      : directory_(std::move(directory)), lock_(std::move(lock)) {}

  Status LoadSettings();
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  std::string ConfigPath(const std::string& name) const { return Path("config/" + name + ".toml"); }
  Daemon Make(const std::string& name, const std::string& program) const;
  std::string MetaTemplate() const;
  std::string StorageTemplate(uint32_t i) const;
  std::string MountTemplate() const;
  std::string LogTemplate(const std::string& name) const;
  std::string SocketLine(const std::string& name) const;

  std::string directory_;
  StateDir lock_;
  Settings settings_;
  bool has_settings_ = false;
};

// The value of `key` in the lines "key = "host:port"" before any table; empty when absent.
std::string FindAddress(const std::string& toml, const std::string& key);
// The text with that line's value replaced, all else as it was.
std::string ReplaceAddress(const std::string& toml, const std::string& key,
                           const std::string& address);

// Finds the first port at `preferred` or above such that it and the `count` - 1 after it are free
// and not in `taken`, in steps of ten; adds them to `taken`. 0 when there are none.
uint16_t ChoosePorts(uint16_t preferred, int count, std::set<uint16_t>* taken,
                     const std::function<bool(uint16_t)>& is_free);

}  // namespace sheaf::cli
