#pragma once

#include <string>

namespace sheaf::fuse {

// Which of libfuse's newer features this build has.
struct Features {
  bool parallel_direct_writes = false;  // libfuse 3.15
  bool passthrough = false;             // libfuse 3.17
  bool io_uring = false;                // libfuse 3.18
  bool killpriv_v2 = false;             // libfuse 3.15
};

Features BuildFeatures();

// "sheaf-fuse 0.1.0, libfuse 3.14.0 (parallel direct writes: no, ...)"
std::string VersionText();

}  // namespace sheaf::fuse
