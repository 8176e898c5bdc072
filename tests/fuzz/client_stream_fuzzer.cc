// A client's connection to a server that sends rubbish: a real connection over a real socket, with
// calls under way whose answers the rubbish may happen to be. The first byte chooses: bit 0 seals
// the headers, bit 1 begins with a good hello. Every call ends exactly once and soon, and no answer
// is larger than the memory it was given.

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <latch>
#include <mutex>
#include <thread>

#include "common/address.h"
#include "common/transport/connection.h"
#include "common/transport/hello.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/seal.h"
#include "tests/support/temp_dir.h"

namespace sheaf::transport {
namespace {

constexpr std::array<size_t, 3> kInto = {0, 100, 4096};
constexpr auto kDeadline = std::chrono::seconds(20);

// libFuzzer's own clock interrupts.
template <typename Call>
auto Retried(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// Says the input to whoever connects, and hears them out.
class Server {
 public:
  Server() {
    address_.unix_path = directory_ / "socket";
    auto socket = Listen(address_, 16);
    CHECK(socket.ok(), socket.status().ToString());
    listener_ = std::move(*socket);
  }

  const Address& address() const { return address_; }
  std::thread ServeOne(const std::string& stream) {
    return std::thread([this, &stream] { Serve(stream); });
  }

 private:
  void Serve(const std::string& stream) {
    pollfd ready{listener_.get(), POLLIN, 0};
    CHECK(Retried([&] { return ::poll(&ready, 1, 20'000); }) == 1, "nobody connects");
    UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    CHECK(peer.IsOpen());
    // The client may be gone at the first wrong byte.
    (void)Retried([&] { return ::send(peer.get(), stream.data(), stream.size(), MSG_NOSIGNAL); });
    ::shutdown(peer.get(), SHUT_WR);
    std::array<char, 4096> ignored;
    while (Retried([&] { return ::recv(peer.get(), ignored.data(), ignored.size(), 0); }) > 0) {
    }
  }

  testing::TempDir directory_;
  Address address_;
  UniqueFd listener_;
};

void RunCalls(Connection& connection) {
  std::array<std::vector<uint8_t>, kInto.size()> into;
  std::array<std::atomic<int>, kInto.size()> ends{};
  std::latch all(kInto.size());
  const Clock::Instant deadline = Clock::System().Now() + kDeadline;
  for (size_t i = 0; i < kInto.size(); ++i) {
    into[i].resize(kInto[i]);
    Call call{.method = Method::kRead, .message = "message", .into = into[i]};
    call.deadline = deadline;
    connection.Start(std::move(call), [&, i](Result<Reply> reply) {
      CHECK(++ends[i] == 1, "a call ended twice");
      CHECK(!reply.ok() || reply->payload_size <= kInto[i], "more than there was room for");
      // Not by the status: a server may answer that its own wait was over.
      CHECK(Clock::System().Now() < deadline, "a call that hung");
      all.count_down();
    });
  }
  all.wait();
}

void Fuzz(uint8_t choice, std::string stream) {
  static Server server;
  if ((choice & 1) != 0) fuzz::Seal(stream, {});
  if ((choice & 2) != 0) stream.insert(0, EncodeHello(MakeServerHello({})));
  std::thread serving = server.ServeOne(stream);
  {
    auto connection = Connection::Open(server.address(), {});
    if (connection.ok()) RunCalls(**connection);
  }
  serving.join();
}

}  // namespace
}  // namespace sheaf::transport

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sheaf::fuzz::Input input(data, size);
  const uint8_t choice = input.TakeByte();
  sheaf::transport::Fuzz(choice, std::string(input.TakeRest()));
  return 0;
}
