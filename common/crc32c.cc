#include "common/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <array>

namespace sheaf {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // Castagnoli, bits reflected
constexpr uint32_t kOne = 0x80000000;         // the polynomial 1
constexpr uint32_t kX = 0x40000000;           // the polynomial x

// a(x) * b(x) mod P(x), bits reflected.
constexpr uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = (b & 1) ? (b >> 1) ^ kPolynomial : b >> 1;
  }
  return product;
}

// Appending n zero bytes to a message multiplies its CRC by x^(8n). Powers for n = 2^k.
constexpr std::array<uint32_t, 64> ZeroBytePowers() {
  std::array<uint32_t, 64> powers{};
  uint32_t power = kX;
  for (int i = 0; i < 3; ++i) power = Multiply(power, power);
  for (uint32_t& entry : powers) {
    entry = power;
    power = Multiply(power, power);
  }
  return powers;
}
constexpr std::array<uint32_t, 64> kPowers = ZeroBytePowers();

// The same multiplications as four look-ups, for the lengths that chunks have.
class ZeroByteTables {
 public:
  static constexpr int kLengths = 27;  // 2^0 to 2^26 bytes

  static const ZeroByteTables& Get() {
    static const ZeroByteTables tables;
    return tables;
  }

  uint32_t Apply(int k, uint32_t crc) const {
    const auto& t = tables_[k];
    return t[0][crc & 0xff] ^ t[1][(crc >> 8) & 0xff] ^ t[2][(crc >> 16) & 0xff] ^ t[3][crc >> 24];
  }

 private:
  ZeroByteTables() {
    for (int k = 0; k < kLengths; ++k) {
      for (int byte = 0; byte < 4; ++byte) {
        for (uint32_t value = 0; value < 256; ++value) {
          tables_[k][byte][value] = Multiply(kPowers[k], value << (8 * byte));
        }
      }
    }
  }

  std::array<std::array<std::array<uint32_t, 256>, 4>, kLengths> tables_;
};

constexpr size_t kMaxStep = size_t{1} << 30;  // ISA-L counts in int

}  // namespace

uint32_t Crc32c(std::span<const uint8_t> bytes) { return Crc32cExtend(0, bytes); }

uint32_t Crc32cExtend(uint32_t crc, std::span<const uint8_t> bytes) {
  // ISA-L leaves the initial and the final inversion to its caller, and does not write.
  uint32_t raw = ~crc;
  while (!bytes.empty()) {
    const size_t step = std::min(bytes.size(), kMaxStep);
    raw = crc32_iscsi(const_cast<uint8_t*>(bytes.data()), static_cast<int>(step), raw);
    bytes = bytes.subspan(step);
  }
  return ~raw;
}

uint32_t Crc32cCombine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b) {
  const ZeroByteTables& tables = ZeroByteTables::Get();
  uint32_t crc = crc_a;
  for (int k = 0; length_b != 0; ++k, length_b >>= 1) {
    if ((length_b & 1) == 0) continue;
    crc = k < ZeroByteTables::kLengths ? tables.Apply(k, crc) : Multiply(kPowers[k], crc);
  }
  return crc ^ crc_b;
}

}  // namespace sheaf
