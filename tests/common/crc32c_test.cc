#include "common/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

namespace sheaf {
namespace {

std::span<const uint8_t> Bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// RFC 3720, appendix B.4, and the check value of the CRC catalogue.
TEST(Crc32cTest, MatchesThePublishedVectors) {
  EXPECT_EQ(Crc32c({}), 0u);
  EXPECT_EQ(Crc32c(Bytes("123456789")), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::vector<uint8_t>(32, 0)), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::vector<uint8_t>(32, 0xff)), 0x62a8ab43u);
  std::vector<uint8_t> rising(32), falling(32);
  for (uint8_t i = 0; i < 32; ++i) rising[i] = i, falling[i] = 31 - i;
  EXPECT_EQ(Crc32c(rising), 0x46dd794eu);
  EXPECT_EQ(Crc32c(falling), 0x113fdb5cu);
  const std::vector<uint8_t> read_command = {
      0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
      0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
  EXPECT_EQ(Crc32c(read_command), 0xd9963a56u);
}

// Bit by bit, from the definition.
uint32_t Reference(std::span<const uint8_t> bytes) {
  uint32_t crc = ~0u;
  for (uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
  }
  return ~crc;
}

TEST(Crc32cTest, AgreesWithTheDefinitionAtEveryLengthAndAlignment) {
  std::mt19937 random(1);
  std::vector<uint8_t> bytes(600);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  for (size_t offset = 0; offset < 17; ++offset) {
    for (size_t length = 0; length < 500; length += 1 + length / 40) {
      const auto part = std::span<const uint8_t>(bytes).subspan(offset, length);
      ASSERT_EQ(Crc32c(part), Reference(part)) << offset << " " << length;
    }
  }
}

TEST(Crc32cTest, ExtendsAndCombinesAtEverySplit) {
  std::vector<uint8_t> bytes(9001);
  std::mt19937 random(2);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  const std::span<const uint8_t> all(bytes);
  const uint32_t whole = Crc32c(all);
  for (size_t split = 0; split <= bytes.size(); split += 1 + split / 13) {
    const uint32_t a = Crc32c(all.first(split)), b = Crc32c(all.subspan(split));
    ASSERT_EQ(Crc32cExtend(a, all.subspan(split)), whole) << split;
    ASSERT_EQ(Crc32cCombine(a, b, bytes.size() - split), whole) << split;
  }
}

TEST(Crc32cTest, CombinesLengthsBeyondTheTables) {
  // crc(a + n zeros) in two steps equals the same in one.
  const uint64_t half = (uint64_t{1} << 33) + 5;
  const uint32_t a = Crc32c(Bytes("sheaf"));
  EXPECT_EQ(Crc32cCombine(Crc32cCombine(a, 0, half), 0, half), Crc32cCombine(a, 0, 2 * half));
}

}  // namespace
}  // namespace sheaf
