#pragma once

#include <sys/socket.h>

#include <string>

#include "tests/fuzz/seal.h"
#include "tests/support/raw_frame_client.h"

namespace sheaf::fuzz {

// A peer that sends a server `stream` and hangs up. Bit 0 of `choice` seals the headers, bit 1
// begins with a good hello. Fails when the answer is not whole frames, or the server is not done
// with the connection once the peer is.
inline void SendStream(const Address& address, uint8_t choice, std::string stream,
                       const transport::FrameLimits& limits) {
  if ((choice & 1) != 0) Seal(stream, limits);
  testing::RawFrameClient client(address);
  if ((choice & 2) != 0) client.Greet();
  (void)client.Send(stream);  // the server may close at the first wrong byte
  ::shutdown(client.fd(), SHUT_WR);
  while (client.Receive()) {  // checks each frame; fails when nothing comes for long
  }
}

}  // namespace sheaf::fuzz
