#pragma once

#include <string>

#include "common/status.h"

namespace sheaf::cli {

// The JSON text of `sheaf status --json` as tables for a person. kProtocol if it is not such text.
Result<std::string> StatusTable(const std::string& json);

}  // namespace sheaf::cli
