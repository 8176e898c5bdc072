#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "common/transport/hello.h"

namespace sheaf::storage {

// Every bound of the framed service, in one place.
struct ServiceLimits {
  transport::ServerTerms terms;        // requests and bytes under way a connection; largest payload
  uint32_t connections = 1024;         // in all; one more is closed at once
  uint32_t requests_under_way = 8192;  // in all; one more is answered kBusy
  uint32_t waiting_for_room = 1024;    // a reactor: requests that wait for a buffer
  std::chrono::milliseconds room_wait{250};  // then kBusy

  // Time limits on a peer; it is closed when one has passed.
  std::chrono::milliseconds hello_wait{5'000};
  std::chrono::milliseconds frame_wait{30'000};  // from a frame's first byte to its last
  std::chrono::milliseconds send_wait{30'000};   // for one gathered send to be taken
  std::chrono::milliseconds idle_wait{600'000};  // nothing asked, nothing under way

  // How often the above are looked at.
  std::chrono::milliseconds tick{100};
};

}  // namespace sheaf::storage
