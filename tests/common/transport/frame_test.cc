#include "common/transport/frame.h"

#include <gtest/gtest.h>

#include <cstring>

#include "common/crc32c.h"

namespace sheaf::transport {
namespace {

FrameHeader Sample() {
  return {.type = FrameType::kResponse,
          .method = Method::kWrite,
          .request_id = 0x0102030405060708,
          .message_length = 0x1234,
          .payload_length = 0x10000,
          .deadline_ms = 30000,
          .flags = 0x80000001};
}

// A damaged copy with a good CRC.
template <typename Damage>
std::array<uint8_t, kHeaderSize> Resealed(Damage damage) {
  auto bytes = EncodeHeader(Sample());
  damage(bytes);
  const uint32_t crc = Crc32c({bytes.data(), 60});
  for (int i = 0; i < 4; ++i) bytes[60 + i] = static_cast<uint8_t>(crc >> (8 * i));
  return bytes;
}

TEST(FrameTest, HeaderSurvivesTheRoundTrip) {
  const auto decoded = DecodeHeader(EncodeHeader(Sample()), {});
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(*decoded, Sample());
}

TEST(FrameTest, BytesLieWhereTheTableSays) {
  const auto bytes = EncodeHeader(Sample());
  const uint8_t front[] = {'S',  'H',  'F', '1', 1, 3, 2, 0, 8,    7,    6, 5, 4, 3, 2, 1,
                           0x34, 0x12, 0,   0,   0, 0, 1, 0, 0x30, 0x75, 0, 0, 1, 0, 0, 0x80};
  EXPECT_EQ(std::memcmp(bytes.data(), front, sizeof(front)), 0);
  for (size_t i = sizeof(front); i < 60; ++i) EXPECT_EQ(bytes[i], 0) << i;
}

TEST(FrameTest, AnyFlippedBitIsNoticed) {
  const auto good = EncodeHeader(Sample());
  for (size_t byte = 0; byte < kHeaderSize; ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      auto bad = good;
      bad[byte] ^= static_cast<uint8_t>(1 << bit);
      const auto decoded = DecodeHeader(bad, {});
      ASSERT_FALSE(decoded.ok()) << byte << "." << bit;
      EXPECT_EQ(decoded.status().code(), Code::kProtocol);
    }
  }
}

TEST(FrameTest, NamesTheWrongField) {
  const auto message = [](const std::array<uint8_t, kHeaderSize>& bytes) {
    return DecodeHeader(bytes, {}).status().message();
  };
  EXPECT_NE(message(Resealed([](auto& b) { b[0] = 'G'; })).find("magic"), std::string::npos);
  EXPECT_NE(message(Resealed([](auto& b) { b[4] = 2; })).find("version"), std::string::npos);
  EXPECT_NE(message(Resealed([](auto& b) { b[5] = 0; })).find("type"), std::string::npos);
  EXPECT_NE(message(Resealed([](auto& b) { b[5] = 6; })).find("type"), std::string::npos);
  EXPECT_NE(message(Resealed([](auto& b) { b[19] = 1; })).find("message"), std::string::npos);
  EXPECT_NE(message(Resealed([](auto& b) { b[23] = 1; })).find("payload"), std::string::npos);
}

TEST(FrameTest, LengthsAtTheirLimitAreTaken) {
  FrameHeader header = Sample();
  const FrameLimits limits{.max_message = 100, .max_payload = 200};
  header.message_length = 100;
  header.payload_length = 200;
  EXPECT_TRUE(DecodeHeader(EncodeHeader(header), limits).ok());
  header.message_length = 101;
  EXPECT_FALSE(DecodeHeader(EncodeHeader(header), limits).ok());
  header.message_length = 100;
  header.payload_length = 201;
  EXPECT_FALSE(DecodeHeader(EncodeHeader(header), limits).ok());
}

// A receiver has no place for such a payload: a cancel that had one once ended the server.
TEST(FrameTest, OnlyRequestsAndResponsesCarryAPayload) {
  for (const FrameType type : {FrameType::kHello, FrameType::kRequest, FrameType::kResponse,
                               FrameType::kError, FrameType::kCancel}) {
    FrameHeader header = Sample();
    header.type = type;
    header.payload_length = 1;
    const bool carries = type == FrameType::kRequest || type == FrameType::kResponse;
    EXPECT_EQ(DecodeHeader(EncodeHeader(header), {}).ok(), carries) << static_cast<int>(type);
    header.payload_length = 0;
    EXPECT_TRUE(DecodeHeader(EncodeHeader(header), {}).ok()) << static_cast<int>(type);
  }
}

TEST(FrameTest, IgnoresReservedBytesAndUnknownFlags) {
  EXPECT_TRUE(DecodeHeader(Resealed([](auto& b) { b[40] = 7, b[31] = 0xff; }), {}).ok());
}

}  // namespace
}  // namespace sheaf::transport
