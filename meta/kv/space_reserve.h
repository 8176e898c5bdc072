#pragma once

#include <cstdint>
#include <string>

#include "common/clock.h"

namespace sheaf::meta {

// A file that does nothing but hold disk space, so that there is some to go on with once the disk
// is full: it is given up then, and taken again when there is room. Not thread-safe.
class SpaceReserve {
 public:
  // Nothing is touched yet. `wanted_bytes` is cut to a sixteenth of the file system, so that a
  // small disk is not all reserve; 0: there is no reserve, and it counts as whole.
  SpaceReserve(std::string path, uint64_t wanted_bytes, const Clock& clock);

  uint64_t bytes() const { return bytes_; }
  bool whole() const { return whole_; }
  // Takes the space unless that would leave less than as much again free. Looks once a second at
  // most, so it may be asked often. Answers whether the reserve is whole.
  bool Fill();
  void Release();

 private:
  const std::string path_;
  const Clock& clock_;
  uint64_t bytes_ = 0;
  bool whole_ = false;
  Clock::Instant next_look_{};
};

// Bytes that a process may still write to the file system of `path`; UINT64_MAX where it cannot be
// asked.
uint64_t FreeBytes(const std::string& path);

}  // namespace sheaf::meta
