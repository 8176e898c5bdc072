#include "client/cli/sizes.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>

namespace sheaf::cli {
namespace {

constexpr std::array<const char*, 7> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

std::optional<int> ShiftOf(std::string_view unit) {
  if (unit.empty() || unit == "B") return 0;
  const size_t at = std::string_view("KMGT").find(unit[0] & ~0x20);
  const std::string_view rest = unit.substr(1);
  if (at == std::string_view::npos || !(rest.empty() || rest == "B" || rest == "iB")) {
    return std::nullopt;
  }
  return static_cast<int>(10 * (at + 1));
}

}  // namespace

Result<uint64_t> ParseSize(const std::string& option, const std::string& text, uint64_t min,
                           uint64_t max) {
  const Status wrong(Code::kUsage, option + " " + text + ": must be a size from " + FormatSize(min) +
                                       " to " + FormatSize(max) + ", such as 4096, 64K, 1M or 1.5G");
  // strtod would also take signs, spaces, hexadecimal and "inf".
  const size_t digits = text.find_first_not_of("0123456789.");
  const std::string number = text.substr(0, digits);
  const auto shift = ShiftOf(digits == std::string::npos ? "" : std::string_view(text).substr(digits));
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0' || !shift.has_value()) return wrong;
  const double bytes = std::ldexp(value, *shift);
  if (!(bytes >= static_cast<double>(min) && bytes <= static_cast<double>(max))) return wrong;
  return static_cast<uint64_t>(bytes);
}

std::string FormatSize(uint64_t bytes) {
  size_t unit = 0;
  auto value = static_cast<double>(bytes);
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  char text[32];
  const bool whole = value >= 100 || value == std::floor(value);
  std::snprintf(text, sizeof text, whole ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

}  // namespace sheaf::cli
