#include "common/address.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fstream>
#include <memory>

#include "common/clock.h"

namespace sheaf {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

struct Endpoint {
  sockaddr_storage storage{};
  socklen_t length = 0;
  int family() const { return storage.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Status BadAddress(std::string_view text) {
  return Status(Code::kUsage,
                "address '" + std::string(text) + "' is not host:port, [ipv6]:port or unix:/path");
}

Result<Endpoint> UnixEndpoint(const std::string& path) {
  Endpoint endpoint;
  auto* address = reinterpret_cast<sockaddr_un*>(&endpoint.storage);
  if (path.size() >= sizeof(address->sun_path)) {
    return Status(Code::kUsage, "address 'unix:" + path + "' has a path over " +
                                    std::to_string(sizeof(address->sun_path) - 1) + " bytes");
  }
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path, path.c_str(), path.size() + 1);
  endpoint.length = sizeof(sockaddr_un);
  return endpoint;
}

// The first address of the name. Only a name that is not a number asks a resolver.
Result<Endpoint> Resolve(const Address& address) {
  if (address.IsUnix()) return UnixEndpoint(address.unix_path);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  std::unique_ptr<addrinfo, void (*)(addrinfo*)> guard(found, freeaddrinfo);
  if (error != 0) {
    return Status(Code::kUnavailable, "resolve " + address.ToString() + ": " + gai_strerror(error));
  }
  Endpoint endpoint;
  std::memcpy(&endpoint.storage, found->ai_addr, found->ai_addrlen);
  endpoint.length = found->ai_addrlen;
  return endpoint;
}

// Nothing listens on a Unix socket file that refuses connections: its server is dead.
bool IsDeadSocket(const Address& address, const Endpoint& endpoint) {
  struct stat info {};
  if (lstat(address.unix_path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) return false;
  UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return probe.IsOpen() && connect(probe.get(), endpoint.get(), endpoint.length) != 0 &&
         errno == ECONNREFUSED;
}

Status Bind(int fd, const Address& address, const Endpoint& endpoint) {
  if (bind(fd, endpoint.get(), endpoint.length) == 0) return Status::Ok();
  if (errno == EADDRINUSE && address.IsUnix() && IsDeadSocket(address, endpoint)) {
    unlink(address.unix_path.c_str());
    if (bind(fd, endpoint.get(), endpoint.length) == 0) return Status::Ok();
  }
  if (errno == EADDRINUSE) {
    return Status(Code::kExists, "listen on " + address.ToString() + ": address already in use");
  }
  return Status::FromErrno(errno, "listen on " + address.ToString());
}

Status WaitConnected(int fd, int timeout_ms) {
  const auto deadline = Clock::System().Now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::System().Now());
    pollfd poller{fd, POLLOUT, 0};
    const int ready = poll(&poller, 1, left.count() > 0 ? static_cast<int>(left.count()) : 0);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return Status(Code::kUnavailable, "no answer");
    break;
  }
  int error = 0;
  socklen_t length = sizeof(error);
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error == 0) return Status::Ok();
  return Status(Code::kUnavailable, std::strerror(error));
}

// A full backlog of a Unix socket answers EAGAIN at once; the caller's back-off covers it.
Status ConnectWithin(int fd, const Endpoint& endpoint, int timeout_ms) {
  if (connect(fd, endpoint.get(), endpoint.length) == 0) return Status::Ok();
  if (errno == EINPROGRESS || errno == EINTR) return WaitConnected(fd, timeout_ms);
  return Status(Code::kUnavailable, std::strerror(errno));
}

}  // namespace

std::string Address::ToString() const {
  if (IsUnix()) return std::string(kUnixPrefix) + unix_path;
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Address> Address::Parse(std::string_view text) {
  // System calls and resolvers end a name at NUL: it would be another address that is used.
  if (text.find('\0') != std::string_view::npos) return BadAddress(text);
  Address address;
  if (text.starts_with(kUnixPrefix)) {
    address.unix_path = text.substr(kUnixPrefix.size());
    if (!address.unix_path.starts_with('/')) return BadAddress(text);
    RETURN_IF_ERROR(UnixEndpoint(address.unix_path).status());
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return BadAddress(text);
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() || bracketed != (host.find(':') != std::string_view::npos)) {
    return BadAddress(text);
  }
  const auto parsed = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (port.empty() || parsed.ec != std::errc() || parsed.ptr != port.data() + port.size()) {
    return BadAddress(text);
  }
  address.host = host;
  return address;
}

Result<UniqueFd> Listen(const Address& address, int backlog) {
  ASSIGN_OR_RETURN(const Endpoint endpoint, Resolve(address));
  UniqueFd fd(socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.IsOpen()) return Status::FromErrno(errno, "listen on " + address.ToString());
  const int on = 1;
  if (!address.IsUnix()) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  RETURN_IF_ERROR(Bind(fd.get(), address, endpoint));
  if (listen(fd.get(), backlog) == 0) return fd;
  if (errno == EADDRINUSE) {
    return Status(Code::kExists, "listen on " + address.ToString() + ": address already in use");
  }
  return Status::FromErrno(errno, "listen on " + address.ToString());
}

Result<Address> BoundAddress(int fd, const Address& asked) {
  if (asked.IsUnix()) return asked;
  Endpoint endpoint;
  endpoint.length = sizeof(endpoint.storage);
  if (getsockname(fd, endpoint.get(), &endpoint.length) != 0) {
    return Status::FromErrno(errno, "getsockname of " + asked.ToString());
  }
  Address bound = asked;
  bound.port = ntohs(endpoint.family() == AF_INET6
                         ? reinterpret_cast<const sockaddr_in6*>(&endpoint.storage)->sin6_port
                         : reinterpret_cast<const sockaddr_in*>(&endpoint.storage)->sin_port);
  return bound;
}

Result<UniqueFd> Connect(const Address& address, int timeout_ms) {
  ASSIGN_OR_RETURN(const Endpoint endpoint, Resolve(address));
  UniqueFd fd(socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.IsOpen()) return Status::FromErrno(errno, "connect to " + address.ToString());
  const Status connected = ConnectWithin(fd.get(), endpoint, timeout_ms);
  if (!connected.ok()) return connected.With("connect to " + address.ToString());
  const int on = 1;
  if (!address.IsUnix()) setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) & ~O_NONBLOCK);
  return fd;
}

std::string BootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

}  // namespace sheaf
