#pragma once

#include <string>

namespace sheaf {

// "0.1.0": the release this binary was built from.
std::string Version();

// The line that --version prints: "sheaf-meta 0.1.0 (framed protocol 1)".
std::string VersionLine(const std::string& program);

}  // namespace sheaf
