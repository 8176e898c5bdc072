#include "tests/support/frame_server.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "common/transport/frame_parser.h"
#include "proto/data.pb.h"

namespace sheaf::testing {

using transport::FrameHeader;
using transport::FrameParser;
using transport::FrameType;

namespace {

std::string Bytes(const auto& bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

bool FrameServer::Peer::SendRaw(std::string_view bytes) {
  std::lock_guard lock(sending_);
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool FrameServer::Peer::Respond(uint64_t request_id, std::string_view message,
                                std::span<const uint8_t> payload) {
  const FrameHeader header{.type = FrameType::kResponse,
                           .request_id = request_id,
                           .message_length = static_cast<uint32_t>(message.size()),
                           .payload_length = static_cast<uint32_t>(payload.size())};
  return SendRaw(Bytes(EncodeHeader(header)) + std::string(message) + Bytes(payload));
}

bool FrameServer::Peer::Refuse(uint64_t request_id, const Status& status) {
  return SendRaw(transport::EncodeError(request_id, status));
}

void FrameServer::Peer::Close() { shutdown(fd_.get(), SHUT_RDWR); }

Result<std::unique_ptr<FrameServer>> FrameServer::Start(Script script, const Options& options) {
  std::unique_ptr<FrameServer> server(new FrameServer(std::move(script), options));
  ASSIGN_OR_RETURN(server->listener_, Listen(options.address, 64));
  ASSIGN_OR_RETURN(server->address_, BoundAddress(server->listener_.get(), options.address));
  server->acceptor_ = std::thread([raw = server.get()] { raw->Accept(); });
  return server;
}

FrameServer::~FrameServer() {
  stopping_ = true;
  shutdown(listener_.get(), SHUT_RDWR);
  if (acceptor_.joinable()) acceptor_.join();
  {
    std::lock_guard lock(mutex_);
    for (const auto& peer : peers_) peer->Close();
  }
  for (std::thread& thread : threads_) thread.join();
  if (address_.IsUnix()) unlink(address_.unix_path.c_str());
}

void FrameServer::Accept() {
  while (!stopping_) {
    pollfd poller{listener_.get(), POLLIN, 0};
    poll(&poller, 1, 1000);
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd.IsOpen()) continue;
    ++accepted_;
    auto peer = std::make_shared<Peer>(std::move(fd));
    std::lock_guard lock(mutex_);
    peers_.push_back(peer);
    threads_.emplace_back([this, peer] { Serve(peer); });
  }
}

void FrameServer::Serve(const std::shared_ptr<Peer>& peer) {
  FrameParser parser({.max_message = transport::kMaxMessage, .max_payload = 64 << 20});
  bool greeted = false;
  Request request;
  for (;;) {
    switch (parser.Next()) {
      case FrameParser::Event::kNeedBytes: {
        const auto space = parser.Space();
        const ssize_t got = recv(peer->fd(), space[0].iov_base, space[0].iov_len, 0);
        parser.Received(got > 0 ? static_cast<size_t>(got) : 0);
        if (got == 0 || (got < 0 && errno != EINTR)) return peer->Close();
        break;
      }
      case FrameParser::Event::kMessage:
        if (!greeted) {
          greeted = true;
          if (!AcceptClientHello(parser.header(), parser.message()).ok()) return peer->Close();
          peer->SendRaw(options_.hello.empty()
                            ? transport::EncodeHello(transport::MakeServerHello(options_.terms))
                            : options_.hello);
          break;
        }
        request = {parser.header(), Bytes(parser.message()), {}};
        request.payload.resize(request.header.payload_length);
        if (request.payload.empty()) {
          script_(peer, std::move(request));
        } else {
          parser.ReceivePayload(request.payload);
        }
        break;
      case FrameParser::Event::kPayload:
        script_(peer, std::move(request));
        break;
      case FrameParser::Event::kError:
        return peer->Close();
    }
  }
}

FrameServer::Script EchoScript() {
  return [](const std::shared_ptr<FrameServer::Peer>& peer, FrameServer::Request request) {
    if (request.header.type != FrameType::kRequest) return;
    if (!request.payload.empty()) {
      peer->Respond(request.header.request_id, request.message, request.payload);
      return;
    }
    proto::ReadChunkRequest read;
    if (!read.ParseFromString(request.message)) {
      peer->Refuse(request.header.request_id, Status(Code::kInvalid, "echo: unreadable request"));
      return;
    }
    std::vector<uint8_t> payload(read.length());
    for (size_t i = 0; i < payload.size(); ++i) payload[i] = EchoByte(i);
    peer->Respond(request.header.request_id, {}, payload);
  };
}

}  // namespace sheaf::testing
