// Addresses, as configuration and the cluster map hold them. What is accepted is written as text
// that means the same, and is something that can be bound or connected to.

#include "common/address.h"
#include "common/status.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using sheaf::Address;
  const std::string text(sheaf::fuzz::Input(data, size).TakeRest());
  const auto address = Address::Parse(text);
  if (!address.ok()) {
    CHECK(address.status().code() == sheaf::Code::kUsage);
    return 0;
  }
  CHECK(address->IsUnix() == address->host.empty(), "neither a host nor a path, or both");
  CHECK(address->unix_path.find('\0') == std::string::npos, "a path that the kernel would cut");
  CHECK(address->host.find('\0') == std::string::npos, "a host that a resolver would cut");
  const auto again = Address::Parse(address->ToString());
  CHECK(again.ok() && again->host == address->host && again->port == address->port &&
            again->unix_path == address->unix_path,
        "an address changes when it is written: " + address->ToString());
  return 0;
}
