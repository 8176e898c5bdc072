#include "client/routing/server_link.h"

#include <algorithm>

namespace sheaf::client {

ServerLink::ServerLink(ServerAddress address, transport::ConnectionPool& pool, int connections)
    : address_(std::move(address)), pool_(pool), slots_(std::max(connections, 1)) {}

std::shared_ptr<transport::Connection> ServerLink::Live() {
  auto slots = slots_.Lock();
  const uint32_t at = next_.fetch_add(1, std::memory_order_relaxed) % slots->size();
  auto& connection = (*slots)[at];
  if (connection == nullptr || connection->IsBroken()) return nullptr;
  return connection;
}

Result<std::shared_ptr<transport::Connection>> ServerLink::Connect() {
  auto made = address_.unix_socket
                  ? pool_.Get(*address_.unix_socket)
                  : Result<std::shared_ptr<transport::Connection>>(
                        Status(Code::kUnavailable, "not on this machine"));
  if (!made.ok()) made = pool_.Get(address_.tcp);
  if (!made.ok()) return made.status();
  auto slots = slots_.Lock();
  for (auto& slot : *slots) {
    if (slot == nullptr || slot->IsBroken()) {
      slot = *made;
      break;
    }
  }
  return made;
}

}  // namespace sheaf::client
