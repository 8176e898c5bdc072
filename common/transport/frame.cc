#include "common/transport/frame.h"

#include <cstring>

#include "common/crc32c.h"

namespace sheaf::transport {
namespace {

// Offsets of the table in frame.h.
constexpr size_t kVersionAt = 4;
constexpr size_t kTypeAt = 5;
constexpr size_t kMethodAt = 6;
constexpr size_t kRequestIdAt = 8;
constexpr size_t kMessageLengthAt = 16;
constexpr size_t kPayloadLengthAt = 20;
constexpr size_t kDeadlineAt = 24;
constexpr size_t kFlagsAt = 28;
constexpr size_t kCrcAt = 60;
static_assert(kCrcAt + sizeof(uint32_t) == kHeaderSize);

template <typename T>
void Put(uint8_t* at, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) at[i] = static_cast<uint8_t>(uint64_t{value} >> (8 * i));
}

template <typename T>
T Get(const uint8_t* at) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= uint64_t{at[i]} << (8 * i);
  return static_cast<T>(value);
}

Status Bad(const char* field, uint64_t got, uint64_t want) {
  return Status(Code::kProtocol, std::string("decode frame header: bad ") + field + " (got " +
                                     std::to_string(got) + ", want " + std::to_string(want) + ")");
}

Status OverLimit(const char* field, uint32_t length, uint32_t limit) {
  return Status(Code::kProtocol, std::string("decode frame header: ") + field +
                                     " over its limit (" + std::to_string(length) + " bytes of " +
                                     std::to_string(limit) + ")");
}

bool IsFrameType(uint8_t type) {
  return type >= static_cast<uint8_t>(FrameType::kHello) &&
         type <= static_cast<uint8_t>(FrameType::kCancel);
}

bool CarriesPayload(FrameType type) {
  return type == FrameType::kRequest || type == FrameType::kResponse;
}

}  // namespace

std::array<uint8_t, kHeaderSize> EncodeHeader(const FrameHeader& header) {
  std::array<uint8_t, kHeaderSize> bytes{};
  uint8_t* at = bytes.data();
  std::memcpy(at, kMagic.data(), kMagic.size());
  at[kVersionAt] = kVersion;
  at[kTypeAt] = static_cast<uint8_t>(header.type);
  Put(at + kMethodAt, static_cast<uint16_t>(header.method));
  Put(at + kRequestIdAt, header.request_id);
  Put(at + kMessageLengthAt, header.message_length);
  Put(at + kPayloadLengthAt, header.payload_length);
  Put(at + kDeadlineAt, header.deadline_ms);
  Put(at + kFlagsAt, header.flags);
  Put(at + kCrcAt, Crc32c({at, kCrcAt}));
  return bytes;
}

// Magic first and CRC second: a peer that speaks something else is told so, and no other field of a
// damaged header is believed.
Result<FrameHeader> DecodeHeader(std::span<const uint8_t, kHeaderSize> bytes,
                                 const FrameLimits& limits) {
  const uint8_t* at = bytes.data();
  if (std::memcmp(at, kMagic.data(), kMagic.size()) != 0) {
    return Bad("magic", Get<uint32_t>(at), Get<uint32_t>(kMagic.data()));
  }
  const uint32_t crc = Crc32c({at, kCrcAt});
  if (Get<uint32_t>(at + kCrcAt) != crc) return Bad("CRC", Get<uint32_t>(at + kCrcAt), crc);
  if (at[kVersionAt] != kVersion) return Bad("version", at[kVersionAt], kVersion);
  if (!IsFrameType(at[kTypeAt])) return Bad("type", at[kTypeAt], 1);

  FrameHeader header;
  header.type = static_cast<FrameType>(at[kTypeAt]);
  header.method = static_cast<Method>(Get<uint16_t>(at + kMethodAt));
  header.request_id = Get<uint64_t>(at + kRequestIdAt);
  header.message_length = Get<uint32_t>(at + kMessageLengthAt);
  header.payload_length = Get<uint32_t>(at + kPayloadLengthAt);
  header.deadline_ms = Get<uint32_t>(at + kDeadlineAt);
  header.flags = Get<uint32_t>(at + kFlagsAt);
  if (header.message_length > limits.max_message) {
    return OverLimit("message", header.message_length, limits.max_message);
  }
  if (header.payload_length > limits.max_payload) {
    return OverLimit("payload", header.payload_length, limits.max_payload);
  }
  if (header.payload_length > 0 && !CarriesPayload(header.type)) {
    return Bad("payload length of its type", header.payload_length, 0);
  }
  return header;
}

}  // namespace sheaf::transport
