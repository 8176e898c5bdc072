// The frame parser on arbitrary bytes: whole, and again in pieces. Both must end alike, and nothing
// may be written outside the memory that was given.
//
// The first byte of the input chooses: bit 0 seals the headers (magic, version, CRC), without which
// hardly any input would get past the first one; bit 1 discards every second payload; the rest
// chooses the pieces.

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "common/status.h"
#include "common/transport/frame_parser.h"
#include "tests/fuzz/seal.h"

namespace sheaf::transport {
namespace {

constexpr FrameLimits kLimits{.max_message = 4 << 10, .max_payload = 16 << 10};

// What a stream comes to, as one string to compare.
class Outcome {
 public:
  Outcome(size_t staging, bool discard) : parser_(kLimits, staging), discard_(discard) {}

  bool Push(std::string_view bytes) {
    while (!bytes.empty()) {
      size_t moved = 0;
      for (const iovec& part : parser_.Space()) {
        const size_t n = std::min(part.iov_len, bytes.size() - moved);
        std::memcpy(part.iov_base, bytes.data() + moved, n);
        moved += n;
      }
      CHECK(moved > 0);
      parser_.Received(moved);
      bytes.remove_prefix(moved);
      if (!Drain()) return false;
    }
    return true;
  }

  std::string text;

 private:
  bool Drain() {
    for (;;) {
      switch (parser_.Next()) {
        case FrameParser::Event::kNeedBytes:
          return true;
        case FrameParser::Event::kMessage:
          OnMessage();
          break;
        case FrameParser::Event::kPayload:
          text.append(payload_.begin(), payload_.end());
          break;
        case FrameParser::Event::kError:
          text += parser_.status().message();
          return false;
      }
    }
  }

  void OnMessage() {
    const auto header = EncodeHeader(parser_.header());
    text.append(header.begin(), header.end());
    text.append(parser_.message().begin(), parser_.message().end());
    CHECK(parser_.message().size() == parser_.header().message_length);
    CHECK(parser_.header().message_length <= kLimits.max_message);
    if (parser_.header().payload_length == 0) return;
    if (discard_ && ++payloads_ % 2 == 0) return parser_.DiscardPayload();
    payload_.resize(parser_.header().payload_length);
    parser_.ReceivePayload(payload_);
  }

  FrameParser parser_;
  const bool discard_;
  size_t payloads_ = 0;
  std::vector<uint8_t> payload_;
};

void Fuzz(uint8_t choice, std::string stream) {
  if (choice & 1) fuzz::Seal(stream, kLimits);
  const bool discard = (choice & 2) != 0;
  Outcome whole(FrameParser::kStagingBytes, discard);
  whole.Push(stream);

  Outcome pieces(kHeaderSize + choice, discard);
  size_t piece = 1 + (choice >> 2);
  for (size_t at = 0; at < stream.size(); piece = piece * 5 % 97 + 1) {
    const size_t n = std::min(piece, stream.size() - at);
    if (!pieces.Push(std::string_view(stream).substr(at, n))) break;
    at += n;
  }
  CHECK(whole.text == pieces.text, "a stream in pieces came to something else");
}

}  // namespace
}  // namespace sheaf::transport

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  sheaf::transport::Fuzz(data[0], {reinterpret_cast<const char*>(data + 1), size - 1});
  return 0;
}
