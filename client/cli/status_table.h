#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "common/status.h"

namespace sheaf::cli {

// The JSON text of `sheaf status --json` as tables for a person. kProtocol if it is not such text.
Result<std::string> StatusTable(const std::string& json);

// "3 serving, 4 offline", and for a chain that cannot serve what would mend that: any one of the
// targets named. Throws the library's error where `chain` is not of that form.
std::string DescribeMembers(const nlohmann::ordered_json& chain);

}  // namespace sheaf::cli
