#pragma once

#include <cstdint>
#include <string>

#include "tests/bench/storage/figure.h"

namespace sheaf::bench {

// fio beside the engine: io_uring, direct, one job, one file that was written once before.
// Ends the program when fio cannot run.
class Fio {
 public:
  // Lays out a file of `mib` in `directory`.
  Fio(std::string directory, uint64_t mib);

  // 1 MiB writes at depth 16 over the whole file, and `syncs` fdatasyncs evenly among them. They
  // are queued like writes: fio waits for none of them before it goes on.
  Figure Write(uint64_t syncs);
  Figure Read();                      // 1 MiB at depth 16, the whole file
  Figure RandomRead(uint64_t count);  // 4 KiB at depth 32

 private:
  std::string DataFile() const { return directory_ + "/fio.dat"; }
  void WriteLog(const std::string& path, uint64_t syncs) const;
  Figure Run(const std::string& options, uint64_t io_bytes);

  const std::string directory_;
  const uint64_t mib_;
};

}  // namespace sheaf::bench
