#include "fuse/features.h"

#include "common/version.h"
#include "fuse/libfuse.h"

namespace sheaf::fuse {

Features BuildFeatures() {
  Features features;
#ifdef SHEAF_FUSE_PARALLEL_DIRECT_WRITES
  features.parallel_direct_writes = true;
#endif
#ifdef SHEAF_FUSE_PASSTHROUGH
  features.passthrough = true;
#endif
#ifdef SHEAF_FUSE_IO_URING
  features.io_uring = true;
#endif
#ifdef SHEAF_FUSE_KILLPRIV_V2
  features.killpriv_v2 = true;
#endif
  return features;
}

std::string VersionText() {
  const Features features = BuildFeatures();
  const auto word = [](bool on) { return on ? "yes" : "no"; };
  std::string text = "sheaf-fuse " + Version() + ", libfuse ";
  text += fuse_pkgversion();
  text += std::string(" (parallel direct writes: ") + word(features.parallel_direct_writes);
  text += std::string(", passthrough: ") + word(features.passthrough);
  text += std::string(", io_uring: ") + word(features.io_uring) + ")";
  return text;
}

}  // namespace sheaf::fuse
