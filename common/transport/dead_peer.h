#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace sheaf::transport {

// A peer whose machine is gone answers nothing, not even a reset. The kernel gives up on one that
// acknowledges no byte for `after_ms`, or no probe while idle for about 30 s. `fd` is a connected
// TCP socket.
inline void DetectDeadPeer(int fd, int after_ms = 30'000) {
  const auto set = [fd](int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof(value));
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);  // seconds
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);  // seconds
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, after_ms);
}

}  // namespace sheaf::transport
