#include "common/uuid.h"

#include <sys/random.h>

#include <array>
#include <cstdint>

#include "common/status.h"

namespace sheaf {
namespace {

constexpr size_t kTextSize = 36;

bool IsDashPosition(size_t i) { return i == 8 || i == 13 || i == 18 || i == 23; }

}  // namespace

std::string NewUuid() {
  std::array<uint8_t, 16> bytes{};
  // Up to 256 bytes are never cut short once the kernel's pool is ready.
  CHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
        "no random bytes from the kernel");
  bytes[6] = (bytes[6] & 0x0f) | 0x40;  // version 4
  bytes[8] = (bytes[8] & 0x3f) | 0x80;  // RFC 4122 variant

  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (uint8_t byte : bytes) {
    if (IsDashPosition(text.size())) text += '-';
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

bool IsUuid(std::string_view text) {
  if (text.size() != kTextSize) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (IsDashPosition(i) ? c != '-' : !hex) return false;
  }
  return true;
}

}  // namespace sheaf
