#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/status.h"
#include "common/transport/frame.h"
#include "proto/data.pb.h"

namespace sheaf::transport {

// The opening of a framed connection. The client sends a hello, the server checks it and answers
// with its own; either closes the connection when they cannot work together. Nothing else is sent
// before the server's hello is there.
//
// Version: each side offers a range, the highest that both know is used. Features: bits, used where
// both have them. Credits: what the server lets one connection have under way. A request costs one
// request credit and, in byte credits, its payload plus the room it has for the answer's payload; a
// call that costs more than all there are waits until it is alone. They are returned when the call
// ends at the client, so for a moment after a cancelled one the server may see more than it
// gave; it holds such requests back (stops reading) rather than break the connection.

inline constexpr uint32_t kProtocolMin = 1;
inline constexpr uint32_t kProtocolMax = 1;

// Feature bits, part of the protocol. None yet.
inline constexpr uint64_t kFeatures = 0;

// What a hello is held to, before anything is known of the peer.
inline constexpr FrameLimits kHelloLimits{.max_message = 16 << 10, .max_payload = 0};

inline constexpr uint32_t kMaxRequestCredits = 1 << 16;

// What the server offers each connection.
struct ServerTerms {
  uint32_t request_credits = 256;
  uint64_t byte_credits = 64 << 20;
  uint32_t max_payload = kDefaultMaxPayload;
};

// What was agreed: the version and features of both, the terms of the server.
struct Agreement {
  uint32_t version = 0;
  uint64_t features = 0;
  ServerTerms terms;     // at the client; the server knows its own
  std::string token;     // the peer's capability token
  std::string software;  // the peer's, for logs
};

proto::Hello MakeClientHello(std::string_view token = {});
proto::Hello MakeServerHello(const ServerTerms& terms);

// A whole frame, ready to send.
std::string EncodeHello(const proto::Hello& hello);

// The first frame that came from the client, seen by the server. kProtocol: not a hello, not
// readable, or no common version (naming both ranges).
Result<Agreement> AcceptClientHello(const FrameHeader& header, std::span<const uint8_t> message);

// The first frame that came from the server, seen by the client. As above; kProtocol also for terms
// that would let nothing through. A kError frame in its place is that error.
Result<Agreement> AcceptServerHello(const FrameHeader& header, std::span<const uint8_t> message);

// A whole kError frame: what answers request_id, or (request_id 0) refuses a hello.
std::string EncodeError(uint64_t request_id, const Status& status);
// The Status that a kError frame's message holds; never ok.
Status DecodeError(std::span<const uint8_t> message);

}  // namespace sheaf::transport
