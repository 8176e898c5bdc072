#pragma once

#include <string_view>

#include "common/facts.h"
#include "common/status.h"

namespace sheaf::meta {

// What a row of the store says, whichever table it is of; the error of one that does not decode.
Result<Facts> RowFacts(std::string_view key, std::string_view value);

}  // namespace sheaf::meta
