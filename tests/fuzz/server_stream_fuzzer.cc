// A storage server's connection, as a peer that sends rubbish sees it: a real reactor on a real
// socket. The first byte chooses: bit 0 seals the headers, bit 1 begins with a good hello. Whatever
// came, the server answers in whole frames and is done with the connection once the peer is.

#include "common/transport/frame_parser.h"
#include "storage/service/data_frames.h"
#include "storage/service/reactor_set.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/stream_peer.h"
#include "tests/fuzz/watched_engine.h"
#include "tests/support/temp_dir.h"

namespace sheaf::storage {
namespace {

class Server {
 public:
  Server() {
    address_.unix_path = directory_ / "socket";
    replicas_.ApplyMap(fuzz::MapOfOneChain());
    replicas_.ExtendLease(Clock::System().Now() + std::chrono::hours(24));
    ReactorSet::Options options;
    options.buffer_bytes = 32 << 20;
    auto reactors = ReactorSet::Start(options);
    CHECK(reactors.ok(), reactors.status().ToString());
    reactors_ = std::move(*reactors);
    auto socket = Listen(address_, 16);
    CHECK(socket.ok(), socket.status().ToString());
    std::vector<UniqueFd> listeners;
    listeners.push_back(std::move(*socket));
    reactors_->Serve(frames_, std::move(listeners));
  }
  ~Server() { CHECK(reactors_->StopServing(std::chrono::seconds(30)).ok(), "requests are left"); }

  const Address& address() const { return address_; }

 private:
  testing::TempDir directory_;
  Address address_;
  fuzz::WatchedEngine engine_;
  ReplicaSet replicas_{{{"a", &engine_}}, Clock::System()};
  DataHandler data_{replicas_, {}};
  DataFrames frames_{data_};
  std::unique_ptr<ReactorSet> reactors_;  // first to go
};

void Fuzz(uint8_t choice, std::string stream) {
  static Server server;
  fuzz::SendStream(server.address(), choice, std::move(stream), {});
}

}  // namespace
}  // namespace sheaf::storage

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sheaf::fuzz::Input input(data, size);
  const uint8_t choice = input.TakeByte();
  sheaf::storage::Fuzz(choice, std::string(input.TakeRest()));
  return 0;
}
