#include "common/listen_probe.h"

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "common/fd.h"

namespace sheaf {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Result<Addresses> Resolve(const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  uint16_t number = 0;
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (port.empty() || colon == 0 || error != std::errc() || end != port.data() + port.size()) {
    return Status(Code::kUsage, "listen address \"" + address +
                                    "\": not of the form HOST:PORT with a port from 0 to 65535");
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int failed = getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  if (failed != 0) {
    return Status(Code::kUsage, "listen address \"" + address + "\": " + gai_strerror(failed));
  }
  return Addresses(list);
}

}  // namespace

Status ProbeListen(const std::string& address) {
  ASSIGN_OR_RETURN(Addresses found, Resolve(address));
  UniqueFd fd(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.IsOpen()) return Status::FromErrno(errno, "listen on " + address + ": socket");
  // As the real listener will: a port in TIME_WAIT is free.
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd.get(), found->ai_addr, found->ai_addrlen) == 0 && listen(fd.get(), 1) == 0) {
    return Status::Ok();
  }
  const std::string what = "listen on " + address + ": ";
  switch (errno) {
    case EADDRINUSE:
      return {Code::kExists, what + "the port is in use; stop what listens there or choose another"};
    case EADDRNOTAVAIL:
      return {Code::kUsage, what + "not an address of this machine"};
    case EACCES:
      return {Code::kAccess, what + "ports below 1024 need root; choose a higher one"};
    default:
      return Status::FromErrno(errno, "listen on " + address);
  }
}

}  // namespace sheaf
