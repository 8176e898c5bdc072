#include "client/routing/server_link.h"

#include <algorithm>

namespace sheaf::client {

ServerLink::ServerLink(ServerAddress address, transport::ConnectionPool& pool, int connections,
                       const Clock& clock)
    : address_(std::move(address)), pool_(pool), clock_(clock), slots_(std::max(connections, 1)) {}

std::shared_ptr<transport::Connection> ServerLink::Live() {
  auto slots = slots_.Lock();
  const uint32_t at = next_.fetch_add(1, std::memory_order_relaxed) % slots->size();
  auto& connection = (*slots)[at];
  if (connection == nullptr || connection->IsBroken()) return nullptr;
  return connection;
}

Result<std::shared_ptr<transport::Connection>> ServerLink::Connect() {
  ++connecting_;
  auto made = address_.unix_socket
                  ? pool_.Get(*address_.unix_socket)
                  : Result<std::shared_ptr<transport::Connection>>(
                        Status(Code::kUnavailable, "not on this machine"));
  if (!made.ok()) made = pool_.Get(address_.tcp);
  --connecting_;
  if (!made.ok()) {
    Avoid();
    return made.status();
  }
  auto slots = slots_.Lock();
  for (auto& slot : *slots) {
    if (slot == nullptr || slot->IsBroken()) {
      slot = *made;
      break;
    }
  }
  return made;
}

void ServerLink::Avoid() { avoid_until_ns_ = (clock_.Now() + kAvoid).count(); }

bool ServerLink::IsAvoided() const {
  return connecting_ > 0 || clock_.Now().count() < avoid_until_ns_;
}

bool ServerLink::IsLive() const {
  auto slots = slots_.Lock();
  return std::any_of(slots->begin(), slots->end(), [](const auto& connection) {
    return connection != nullptr && !connection->IsBroken();
  });
}

size_t ServerLink::UnderWay() const {
  auto slots = slots_.Lock();
  size_t sum = 0;
  for (const auto& connection : *slots) sum += connection == nullptr ? 0 : connection->under_way();
  return sum;
}

}  // namespace sheaf::client
