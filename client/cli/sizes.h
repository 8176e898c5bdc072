#pragma once

#include <cstdint>
#include <string>

#include "common/status.h"

namespace sheaf::cli {

// Bytes from "4096", "64K", "1M", "1.5G" or "2T" (powers of 1024; "KiB" and "KB" read the same).
// kUsage names `option`, the text and the accepted range.
Result<uint64_t> ParseSize(const std::string& option, const std::string& text, uint64_t min,
                           uint64_t max);

// "512 B", "1.5 KiB", "12 GiB".
std::string FormatSize(uint64_t bytes);

}  // namespace sheaf::cli
