#include "client/meta/meta_frames.h"

#include "common/address.h"

namespace sheaf::client {
namespace {

// Calls of many threads share them; the service reads each by one thread at a time.
constexpr int kConnections = 2;
constexpr int kConnectTimeoutMs = 1000;

std::string HostOf(const std::string& address) {
  const Result<Address> parsed = Address::Parse(address);
  return parsed.ok() ? parsed->host : std::string();
}

}  // namespace

MetaFrames::MetaFrames(const std::string& meta_address)
    : host_(HostOf(meta_address)),
      boot_id_(BootId()),
      pool_(
          {.connection = {.connect_timeout_ms = kConnectTimeoutMs}, .per_address = kConnections}) {}

std::shared_ptr<transport::Connection> MetaFrames::Get(const proto::MetaFrames& told) {
  const bool local = !told.unix_path().empty() && told.boot_id() == boot_id_;
  if (local) {
    auto connection = pool_.Get(Address{.unix_path = told.unix_path()});
    if (connection.ok()) return *connection;
  }
  if (told.port() == 0 || told.port() > UINT16_MAX || host_.empty()) return nullptr;
  auto connection = pool_.Get(Address{.host = host_, .port = static_cast<uint16_t>(told.port())});
  return connection.ok() ? *connection : nullptr;
}

}  // namespace sheaf::client
