#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/status.h"
#include "common/transport/frame.h"

namespace sheaf::transport {

// Cuts a byte stream into frames, for either end of a connection. It does no I/O: it says where the
// next bytes belong, is told how many arrived there, and answers what they complete.
//
//   for (;;) {
//     ssize_t n = readv(fd, parser.Space().data(), parser.Space().size());  // or a ring's recvmsg
//     parser.Received(n);
//     for (Event event = parser.Next(); event != Event::kNeedBytes; event = parser.Next()) {
//       if (event == Event::kError) return parser.status();
//       if (event == Event::kMessage) {
//         Begin(parser.header(), parser.message());
//         if (parser.header().payload_length > 0) parser.ReceivePayload(buffer);
//       }
//       if (event == Event::kPayload) Finish();
//     }
//   }
//
// A frame without a payload is one event, kMessage. One with a payload is kMessage, then the caller
// says where the payload goes (at once or later: the parser waits, nothing is lost), then kPayload.
//
// Many small frames received together are parsed where they lie: headers and messages are not
// copied. Payload bytes that came along with them are copied to their destination, the rest of the
// payload is received there directly, so that a large payload is written once, by the kernel.
//
// Invariants:
//  1. No memory is taken for a length before it was checked against the limits. The most ever held
//     is the staging buffer and one message.
//  2. Memory named by Space() is stable until Received() or the next Space(), so a ring may hold it
//     across its completion. Between the two, only accessors may be called.
//  3. An error is final: the stream has no resynchronisation point.
//
// Not thread-safe; movable while no receive is under way.
class FrameParser {
 public:
  static constexpr size_t kStagingBytes = 64 << 10;
  // Small enough to copy without thought, large enough for a header and an ordinary message: what
  // is received beyond the end of a large payload.
  static constexpr size_t kTailBytes = 4 << 10;

  enum class Event : uint8_t {
    kNeedBytes,  // receive into Space()
    kMessage,    // header() and message() are complete
    kPayload,    // the payload of header() is where it was wanted; not for a discarded one
    kError,      // status() says why; every later call answers the same
  };

  // `staging_bytes` is at least kHeaderSize; memory for it is taken at the first Space().
  explicit FrameParser(const FrameLimits& limits, size_t staging_bytes = kStagingBytes);
  FrameParser(FrameParser&&) = default;
  FrameParser& operator=(FrameParser&&) = default;

  // For headers not yet parsed: a hello is held to kHelloLimits, what follows to the agreed ones.
  void set_limits(const FrameLimits& limits) { limits_ = limits; }

  // One or two parts, never empty, for readv or recvmsg; a plain recv may use the first alone.
  // REQUIRES: Next() answered kNeedBytes, or nothing was received yet.
  std::span<const iovec> Space();

  // `bytes` arrived, filling the parts of the last Space() in order.
  void Received(size_t bytes);

  // REQUIRES: not between kMessage of a frame with a payload and the choice of where it goes.
  Event Next();

  const FrameHeader& header() const { return header_; }
  // Valid until the following Next() that does not answer kError, or Space().
  std::span<const uint8_t> message() const { return message_; }

  // The payload of the frame just announced goes to the first payload_length bytes of `into`, which
  // stay valid until kPayload or DiscardPayload().
  void ReceivePayload(std::span<uint8_t> into);

  // The payload of the frame just announced, or what is still to come of it, is dropped: `into` is
  // not written again, no kPayload follows. REQUIRES: no receive is under way.
  void DiscardPayload();

  // What is still to come of the payload that is being received.
  size_t PayloadLeft() const { return state_ == State::kPayload ? direct_.size() : 0; }
  // kMessage of a frame with a payload was answered and its destination is not yet chosen.
  bool WaitsForDestination() const { return state_ == State::kChoice; }
  // No frame is begun: the peer may close here without having cut one.
  bool AtFrameBoundary() const { return state_ == State::kHeader && begin_ == end_; }
  const Status& status() const { return status_; }

 private:
  enum class State : uint8_t { kHeader, kMessage, kChoice, kPayload, kDiscard, kFailed };

  Event ParseHeader();
  Event ParseMessage();
  Event ParsePayload();
  Event ParseDiscarded();
  Event Fail(Status status);
  size_t staged() const { return end_ - begin_; }
  void StageTail(size_t limit);
  void Compact();

  FrameLimits limits_;
  size_t staging_bytes_;
  std::unique_ptr<uint8_t[]> staging_;
  size_t begin_ = 0;  // of unparsed bytes in staging_
  size_t end_ = 0;

  State state_ = State::kHeader;
  FrameHeader header_;
  std::span<const uint8_t> message_;
  std::unique_ptr<uint8_t[]> large_message_;  // one that staging_ cannot hold
  // What goes past staging_: the payload, or a large message. Empty when nothing does.
  std::span<uint8_t> direct_;
  size_t discard_left_ = 0;

  std::array<iovec, 2> parts_{};
  size_t part_count_ = 0;
  size_t direct_offered_ = 0;  // length of the part within direct_
  Status status_;
};

}  // namespace sheaf::transport
