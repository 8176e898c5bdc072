// The metadata service's framed connections, as a peer that sends rubbish sees them: real sockets,
// the real calls over a store in memory. The first byte chooses: bit 0 seals the headers, bit 1
// begins with a good hello. Whatever came, the service answers in whole frames and is done with the
// connection once the peer is.

#include "meta/service/meta_frames.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/stream_peer.h"
#include "tests/support/fake_trimmer.h"
#include "tests/support/memory_kv.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_meta.h"

namespace sheaf::meta {
namespace {

// What mutations leave in the store stays: a fresh service takes over before it is much.
constexpr int kInputsOfAService = 5000;

class Service {
 public:
  Service() {
    CHECK(meta_.session().value() == 1, "the corpus names another session");
    auto frames = MetaFrames::Start(calls_, {.listen = {address_}, .threads = 2});
    CHECK(frames.ok(), frames.status().ToString());
    frames_ = std::move(*frames);
  }
  const Address& address() const { return address_; }

 private:
  testing::TempDir directory_;
  const Address address_{.unix_path = directory_ / "socket"};
  MemoryKv store_;
  TestMeta meta_{store_};
  FakeTrimmer trimmer_;
  Metrics metrics_;
  Truncations truncations_{meta_.executor(), trimmer_, TruncationOptions()};
  WorkerPool readers_{1, 16};
  MetaCalls calls_{
      {meta_.executor(), readers_, truncations_, [] { return SpaceTotals(); }, metrics_}};
  std::unique_ptr<MetaFrames> frames_;  // first to go
};

void Fuzz(uint8_t choice, std::string stream) {
  static std::unique_ptr<Service> service;
  static int inputs = 0;
  if (inputs++ % kInputsOfAService == 0) {
    service.reset();
    service = std::make_unique<Service>();
  }
  fuzz::SendStream(service->address(), choice, std::move(stream), {.max_payload = 0});
}

}  // namespace
}  // namespace sheaf::meta

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sheaf::fuzz::Input input(data, size);
  const uint8_t choice = input.TakeByte();
  sheaf::meta::Fuzz(choice, std::string(input.TakeRest()));
  return 0;
}
