#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/address.h"
#include "common/fd.h"
#include "common/status.h"
#include "common/transport/frame.h"
#include "common/transport/hello.h"

namespace sheaf::testing {

// A framed server for tests: one blocking thread a connection, each frame given to a script.
// It checks the client's hello and answers with its own; all else is the script's business, bad
// manners included. The destructor closes every connection and joins every thread.
class FrameServer {
 public:
  struct Request {
    transport::FrameHeader header;  // kRequest or kCancel
    std::string message;
    std::vector<uint8_t> payload;
  };

  // One connection. Sending is thread-safe; it answers false once the client is gone.
  class Peer {
   public:
    explicit Peer(UniqueFd fd) : fd_(std::move(fd)) {}

    bool Respond(uint64_t request_id, std::string_view message,
                 std::span<const uint8_t> payload = {});
    bool Refuse(uint64_t request_id, const Status& status);
    // Bytes as they are: half frames, rubbish.
    bool SendRaw(std::string_view bytes);
    void Close();
    int fd() const { return fd_.get(); }

   private:
    UniqueFd fd_;
    std::mutex sending_;
  };

  // Runs on the connection's thread, one frame after the other.
  using Script = std::function<void(const std::shared_ptr<Peer>&, Request)>;

  struct Options {
    Address address{.host = "127.0.0.1"};
    transport::ServerTerms terms;
    std::string hello;  // sent instead of a good one
  };

  static Result<std::unique_ptr<FrameServer>> Start(Script script, const Options& options);
  static Result<std::unique_ptr<FrameServer>> Start(Script script) {
    return Start(script, Options());
  }
  ~FrameServer();

  const Address& address() const { return address_; }
  int accepted() const { return accepted_.load(); }

 private:
  FrameServer(Script script, const Options& options)
      : script_(std::move(script)), options_(options) {}
  void Accept();
  void Serve(const std::shared_ptr<Peer>& peer);

  const Script script_;
  const Options options_;
  Address address_;
  UniqueFd listener_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> accepted_ = 0;
  std::mutex mutex_;
  std::list<std::shared_ptr<Peer>> peers_;
  std::list<std::thread> threads_;
  std::thread acceptor_;
};

// Answers kEcho with ReadChunkRequest.length bytes of `EchoByte`, and sends a payload back.
FrameServer::Script EchoScript();
inline uint8_t EchoByte(size_t at) { return static_cast<uint8_t>(at * 31 + at / 256); }

}  // namespace sheaf::testing
