#pragma once

#include <string>
#include <vector>

namespace sheaf::cli {

// Lines of columns as wide as their widest cell, two spaces between.
std::string Layout(const std::vector<std::vector<std::string>>& rows);

}  // namespace sheaf::cli
