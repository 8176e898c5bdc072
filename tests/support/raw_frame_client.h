#pragma once

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/address.h"
#include "common/transport/frame.h"
#include "common/transport/hello.h"

namespace sheaf::testing {

// A frame as it came.
struct RawFrame {
  transport::FrameHeader header;
  std::string message;
  std::vector<uint8_t> payload;
};

// The client end of a framed connection without any manners: blocking, sends whatever bytes it is
// given. Waits are bounded, so that a server that hangs fails the test.
class RawFrameClient {
 public:
  explicit RawFrameClient(const Address& address) {
    auto fd = Connect(address, 30'000);
    CHECK(fd.ok(), fd.status().ToString());
    fd_ = std::move(*fd);
    const timeval wait{30, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  }

  int fd() const { return fd_.get(); }
  void Hangup() { fd_.Reset(); }

  // False when the server has closed.
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // Exchanges hellos; the server's terms.
  proto::Hello Greet() {
    CHECK(Send(transport::EncodeHello(transport::MakeClientHello())));
    std::optional<RawFrame> answer = Receive();
    CHECK(answer && answer->header.type == transport::FrameType::kHello, "no hello came back");
    proto::Hello hello;
    CHECK(hello.ParseFromString(answer->message));
    return hello;
  }

  static std::string Encode(const transport::FrameHeader& header, std::string_view message,
                            std::string_view payload) {
    transport::FrameHeader full = header;
    full.message_length = static_cast<uint32_t>(message.size());
    full.payload_length = static_cast<uint32_t>(payload.size());
    const auto bytes = transport::EncodeHeader(full);
    std::string frame(bytes.begin(), bytes.end());
    frame.append(message);
    frame.append(payload);
    return frame;
  }

  static std::string Request(uint64_t id, transport::Method method, std::string_view message,
                             std::string_view payload = {}, uint32_t deadline_ms = 0) {
    transport::FrameHeader header;
    header.type = transport::FrameType::kRequest;
    header.method = method;
    header.request_id = id;
    header.deadline_ms = deadline_ms;
    return Encode(header, message, payload);
  }

  // Nothing when the server closed the connection first.
  std::optional<RawFrame> Receive() {
    std::array<uint8_t, transport::kHeaderSize> bytes;
    if (!ReceiveAll(bytes)) return std::nullopt;
    transport::FrameLimits limits;
    limits.max_payload = 64 << 20;
    auto header = transport::DecodeHeader(bytes, limits);
    CHECK(header.ok(), header.status().ToString());
    RawFrame frame{*header, std::string(header->message_length, '\0'),
                   std::vector<uint8_t>(header->payload_length)};
    if (!ReceiveAll({reinterpret_cast<uint8_t*>(frame.message.data()), frame.message.size()}) ||
        !ReceiveAll(frame.payload))
      return std::nullopt;
    return frame;
  }

 private:
  bool ReceiveAll(std::span<uint8_t> into) {
    while (!into.empty()) {
      const ssize_t got = ::recv(fd_.get(), into.data(), into.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      CHECK(got >= 0 || errno == ECONNRESET || errno == EPIPE,
            std::string("no answer: ") + std::strerror(errno));
      if (got <= 0) return false;
      into = into.subspan(static_cast<size_t>(got));
    }
    return true;
  }

  UniqueFd fd_;
};

}  // namespace sheaf::testing
