#pragma once

#include <string>
#include <string_view>

namespace sheaf {

// A random (version 4) UUID from the kernel, in the 36-character form.
std::string NewUuid();

// Whether `text` has that form, in lower case.
bool IsUuid(std::string_view text);

}  // namespace sheaf
