#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/status.h"

namespace sheaf::transport {

// The framed transport's wire format. Every frame is a header, a protobuf message and a payload:
//
//   bytes   field            (all little-endian)
//   0-3     magic            "SHF1"
//   4       version          kVersion
//   5       type             FrameType
//   6-7     method           what is asked (Method); 0 outside requests
//   8-15    request_id       chosen by the client, unique among its calls under way
//   16-19   message_length   bytes of protobuf after the header
//   20-23   payload_length   bytes after the message; 0 but in requests and responses
//   24-27   deadline_ms      of a request: what is left of the caller's wait; 0 in answers
//   28-31   flags            bits 0-2 of a request: its hop; unknown bits are ignored
//   32-59   reserved         0; ignored by this version
//   60-63   header_crc       CRC32C of bytes 0 to 59
//
// Lengths are checked against limits before memory is taken for them. The payload has its own
// checksum in the message (crc32c), checked by whoever stores or uses it.
inline constexpr size_t kHeaderSize = 64;
inline constexpr std::array<uint8_t, 4> kMagic = {'S', 'H', 'F', '1'};
inline constexpr uint8_t kVersion = 1;
// How many servers of its chain a request has passed: those that have come further get room first,
// so that servers that pass changes on to one another never all wait for each other's buffers.
inline constexpr uint32_t kMaxHop = 7;
inline constexpr uint32_t kMaxMessage = 1 << 20;
inline constexpr uint32_t kDefaultMaxPayload = 4 << 20;

enum class FrameType : uint8_t {
  kHello = 1,     // first frame each way; message: proto::Hello
  kRequest = 2,
  kResponse = 3,  // message: the method's response
  kError = 4,     // message: proto::ErrorAnswer
  kCancel = 5,    // the client no longer waits for request_id; it is not answered if not begun
};

// Numbers are part of the protocol.
enum class Method : uint16_t {
  kNone = 0,
  kRead = 1,
  kWrite = 2,
  kTruncate = 3,
  kRemove = 4,
  kList = 5,
  kSpace = 6,
  kHealth = 7,
  kEcho = 8,  // answers as many bytes as asked for: a sign of life, benchmarks

  // Between the replicas of a chain: proto/replica.proto.
  kReplicate = 16,
  kDurable = 17,
  kCommitted = 18,
  kSyncList = 19,
  kSyncWrite = 20,
  kSyncSeal = 21,
  kSyncRemove = 22,
  kSyncResults = 23,
  kSyncUnits = 24,
  kStage = 25,

  // The metadata service's: the requests and responses of proto/meta.proto.
  kMetaLookup = 64,
  kMetaGetAttr = 65,
  kMetaSetAttr = 66,
  kMetaCreate = 67,
  kMetaMkdir = 68,
  kMetaMknod = 69,
  kMetaSymlink = 70,
  kMetaReadlink = 71,
  kMetaLink = 72,
  kMetaUnlink = 73,
  kMetaRmdir = 74,
  kMetaRename = 75,
  kMetaOpen = 76,
  kMetaClose = 77,
  kMetaFsync = 78,
  kMetaTruncate = 79,
  kMetaReserveAppend = 80,
  kMetaReadDir = 81,
  kMetaStatFs = 82,
  kMetaSetXattr = 83,
  kMetaGetXattr = 84,
  kMetaListXattr = 85,
  kMetaRemoveXattr = 86,
  kMetaLookupPath = 87,
  kMetaBatch = 88,
};

struct FrameHeader {
  FrameType type = FrameType::kRequest;
  Method method = Method::kNone;
  uint64_t request_id = 0;
  uint32_t message_length = 0;
  uint32_t payload_length = 0;
  uint32_t deadline_ms = 0;
  uint32_t flags = 0;

  uint32_t hop() const { return flags & kMaxHop; }

  size_t body_length() const { return size_t{message_length} + payload_length; }
  friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};

struct FrameLimits {
  uint32_t max_message = kMaxMessage;
  uint32_t max_payload = kDefaultMaxPayload;
};

std::array<uint8_t, kHeaderSize> EncodeHeader(const FrameHeader& header);

// kProtocol says which field is wrong: magic, version, CRC, type or a length over its limit.
Result<FrameHeader> DecodeHeader(std::span<const uint8_t, kHeaderSize> bytes,
                                 const FrameLimits& limits);

}  // namespace sheaf::transport
