#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/config.h"
#include "common/log.h"
#include "common/status.h"

namespace sheaf::storage {

// What sheaf-storage's TOML file says.
struct StorageConfig {
  std::string meta;                        // the manager, "host:port"
  std::vector<std::string> targets;        // one directory a disk
  std::string listen = "127.0.0.1:7710";   // framed data path
  std::string grpc = "127.0.0.1:7711";     // the same for stock clients
  std::string metrics = "127.0.0.1:7712";  // Prometheus text over HTTP; empty: none
  std::string unix_path;                   // socket for clients on this machine; empty: none
  std::string advertise;                   // host that others reach this one by; empty: as listened
  std::string failure_domain;              // replicas of a chain avoid sharing one
  uint32_t reactors = 1;                   // threads that drive sockets and disks
  uint64_t buffer_mib = 128;               // buffers of all reactors together
  uint64_t slab_mib = 256;                 // size of one slab file
  uint64_t capacity_mib = 0;               // of each target; 0: all its disk has
  uint64_t scrub_mib_per_s = 32;           // of each target; 0: off
  uint64_t resync_mib_per_s = 256;         // sent to members that catch up; 0: no limit
  uint32_t stage_from_kib = 1024;          // such writes go down chains while received; 0: none
  bool near_stages = false;                // ... to servers on this machine, too
  LogOptions log;

  // kUsage names file, key, value and what is accepted.
  static Result<StorageConfig> Load(const std::string& path);
  static Result<StorageConfig> Read(ConfigFile file, const std::string& name);
  Status Validate(const std::string& name) const;
};

}  // namespace sheaf::storage
