#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/fd.h"
#include "common/status.h"

namespace sheaf {

// "host:port" (IPv6 in brackets) or "unix:/path". Text is what configuration and the cluster map
// hold.
struct Address {
  std::string host;       // empty for a Unix socket
  uint16_t port = 0;
  std::string unix_path;  // empty for TCP

  bool IsUnix() const { return !unix_path.empty(); }
  std::string ToString() const;
  // kUsage names the text and the accepted form.
  static Result<Address> Parse(std::string_view text);
};

// A non-blocking, close-on-exec listening socket; port 0 chooses a free one. A Unix path left by a
// dead server is replaced, a live one's is kExists. kExists names an address in use.
Result<UniqueFd> Listen(const Address& address, int backlog);
// The address a listening socket is bound to.
Result<Address> BoundAddress(int fd, const Address& asked);
// A connected, close-on-exec socket with TCP_NODELAY set; left in blocking mode.
Result<UniqueFd> Connect(const Address& address, int timeout_ms);

// Identifies this boot of this machine (/proc/sys/kernel/random/boot_id).
std::string BootId();

}  // namespace sheaf
