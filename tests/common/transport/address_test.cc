#include "common/address.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <string>

namespace sheaf {
namespace {

class TempDir {
 public:
  TempDir() { CHECK(mkdtemp(path_.data()) != nullptr); }
  ~TempDir() {
    unlink(Socket().c_str());
    rmdir(path_.c_str());
  }
  std::string Socket() const { return path_ + "/socket"; }

 private:
  std::string path_ = "/tmp/sheaf-address-XXXXXX";
};

TEST(AddressTest, ReadsWhatItWrites) {
  for (const char* text : {"127.0.0.1:7700", "host.example:0", "[::1]:65535", "unix:/run/s"}) {
    const auto address = Address::Parse(text);
    ASSERT_TRUE(address.ok()) << address.status().ToString();
    EXPECT_EQ(address->ToString(), text);
  }
  EXPECT_EQ(Address::Parse("[::1]:80")->host, "::1");
}

TEST(AddressTest, RefusesWhatIsNoAddressNamingItAndTheForm) {
  for (const std::string& text :
       {std::string(""), std::string("host"), std::string(":80"), std::string("host:"),
        std::string("host:x"), std::string("host:80x"), std::string("host:65536"),
        std::string("host:-1"), std::string("::1:80"), std::string("[host]:80"),
        std::string("unix:"), std::string("unix:relative"), "unix:/" + std::string(200, 'x'),
        std::string("host\0:80", 8), std::string("unix:/run\0/s", 12)}) {
    const auto address = Address::Parse(text);
    ASSERT_FALSE(address.ok()) << text;
    EXPECT_EQ(address.status().code(), Code::kUsage);
    EXPECT_NE(address.status().message().find("'"), std::string::npos);
  }
}

TEST(AddressTest, PortZeroFindsAFreeOne) {
  const Address asked{.host = "127.0.0.1"};
  auto listener = Listen(asked, 4);
  ASSERT_TRUE(listener.ok()) << listener.status().ToString();
  const auto bound = BoundAddress(listener->get(), asked);
  ASSERT_TRUE(bound.ok());
  EXPECT_NE(bound->port, 0);
  auto connected = Connect(*bound, 2000);
  ASSERT_TRUE(connected.ok()) << connected.status().ToString();
}

TEST(AddressTest, AnAddressInUseIsNamed) {
  const Address asked{.host = "127.0.0.1"};
  auto listener = Listen(asked, 4);
  const Address bound = *BoundAddress(listener->get(), asked);
  const Status status = Listen(bound, 4).status();
  EXPECT_EQ(status.code(), Code::kExists);
  EXPECT_NE(status.message().find(bound.ToString()), std::string::npos);
}

TEST(AddressTest, AUnixPathIsTakenOverFromTheDeadOnly) {
  TempDir directory;
  const Address address{.unix_path = directory.Socket()};
  {
    auto alive = Listen(address, 4);
    ASSERT_TRUE(alive.ok()) << alive.status().ToString();
    EXPECT_EQ(Listen(address, 4).status().code(), Code::kExists);
    ASSERT_TRUE(Connect(address, 1000).ok());
  }
  EXPECT_EQ(Connect(address, 1000).status().code(), Code::kUnavailable);
  EXPECT_TRUE(Listen(address, 4).ok());
}

TEST(AddressTest, AFileThatIsNoSocketIsLeftAlone) {
  TempDir directory;
  UniqueFd file(creat(directory.Socket().c_str(), 0600));
  EXPECT_EQ(Listen({.unix_path = directory.Socket()}, 4).status().code(), Code::kExists);
  struct stat info {};
  EXPECT_EQ(stat(directory.Socket().c_str(), &info), 0);
}

TEST(AddressTest, AnUnknownHostIsNamed) {
  const Status status = Connect({.host = "no-such-host.invalid", .port = 1}, 100).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find("no-such-host.invalid:1"), std::string::npos);
}

TEST(AddressTest, TheBootHasAnId) {
  EXPECT_EQ(BootId().size(), 36u);
  EXPECT_EQ(BootId(), BootId());
}

}  // namespace
}  // namespace sheaf
