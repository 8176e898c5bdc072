#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/transport/frame.h"

namespace sheaf::transport {

// Frames on their way into a socket, in order. Headers, messages and small payloads are gathered
// into runs of bytes of its own, so that a hundred small requests are one part of one sendmsg; a
// larger payload is borrowed where it lies and never copied, unless its owner wants it back.
//
// Not thread-safe.
class SendQueue {
 public:
  // A copy this small costs less than a part of its own.
  static constexpr size_t kCopiedPayload = 4 << 10;
  static constexpr size_t kRunBytes = 64 << 10;

  // Answers whether the payload is borrowed: it must then stay valid until Advance() reports it or
  // Detach() copied it.
  bool Append(const FrameHeader& header, std::string_view message,
              std::span<const uint8_t> payload);

  bool empty() const { return first_ == parts_.size(); }
  // Bytes held in memory of its own.
  size_t owned_bytes() const { return owned_bytes_; }

  // Fills `parts` from the front; answers how many were used.
  size_t Gather(std::span<iovec> parts) const;

  // The first `bytes` were sent. Appends the request ids of borrowed payloads now let go.
  void Advance(size_t bytes, std::vector<uint64_t>* released);

  // Copies what is unsent of the payload of `request_id`, so that its owner has it back.
  void Detach(uint64_t request_id);

 private:
  struct Part {
    std::string owned;
    std::span<const uint8_t> borrowed;
    uint64_t request_id = 0;  // of a borrowed payload; 0: owned
    std::span<const uint8_t> bytes() const {
      if (request_id != 0) return borrowed;
      return {reinterpret_cast<const uint8_t*>(owned.data()), owned.size()};
    }
  };

  std::string& OpenRun(size_t bytes);

  std::vector<Part> parts_;
  size_t first_ = 0;   // parts before it are sent
  size_t offset_ = 0;  // sent bytes of the first
  size_t owned_bytes_ = 0;
};

}  // namespace sheaf::transport
