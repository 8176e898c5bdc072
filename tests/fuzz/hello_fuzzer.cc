// Hellos and error answers on arbitrary bytes. The first byte is the frame type; what is agreed
// must keep its promises, and an error is never ok.

#include "common/status.h"
#include "common/transport/hello.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sheaf::transport;
  if (size == 0) return 0;
  const FrameHeader header{.type = static_cast<FrameType>(data[0])};
  const std::span<const uint8_t> message(data + 1, size - 1);

  const auto client = AcceptClientHello(header, message);
  if (client.ok()) CHECK(client->version >= kProtocolMin && client->version <= kProtocolMax);
  const auto server = AcceptServerHello(header, message);
  if (server.ok()) {
    CHECK(server->version >= kProtocolMin && server->version <= kProtocolMax);
    CHECK(server->terms.request_credits > 0 && server->terms.byte_credits > 0);
    CHECK(server->terms.request_credits <= kMaxRequestCredits);
    CHECK((server->features & ~kFeatures) == 0);
  }
  CHECK(!DecodeError(message).ok());
  return 0;
}
