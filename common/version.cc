#include "common/version.h"

#include "common/transport/frame.h"
#include "common/version_number.h"

namespace sheaf {

std::string Version() { return SHEAF_VERSION; }

std::string VersionLine(const std::string& program) {
  return program + " " + Version() + " (framed protocol " +
         std::to_string(int{transport::kVersion}) + ")";
}

}  // namespace sheaf
