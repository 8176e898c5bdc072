#include "common/transport/hello.h"

#include <gtest/gtest.h>

namespace sheaf::transport {
namespace {

std::span<const uint8_t> Bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

Result<Agreement> AcceptServer(const proto::Hello& hello) {
  const std::string frame = EncodeHello(hello);
  const auto header = DecodeHeader(Bytes(frame).first<kHeaderSize>(), kHelloLimits);
  return AcceptServerHello(*header, Bytes(frame).subspan(kHeaderSize));
}

Result<Agreement> AcceptClient(const proto::Hello& hello) {
  const std::string message = hello.SerializeAsString();
  return AcceptClientHello({.type = FrameType::kHello}, Bytes(message));
}

TEST(HelloTest, BothEndsAgree) {
  const auto client = AcceptClient(MakeClientHello("token"));
  ASSERT_TRUE(client.ok()) << client.status().ToString();
  EXPECT_EQ(client->version, kProtocolMax);
  EXPECT_EQ(client->token, "token");
  const auto server = AcceptServer(
      MakeServerHello({.request_credits = 7, .byte_credits = 1 << 20, .max_payload = 4096}));
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  EXPECT_EQ(server->terms.request_credits, 7u);
  EXPECT_EQ(server->terms.byte_credits, 1u << 20);
  EXPECT_EQ(server->terms.max_payload, 4096u);
}

TEST(HelloTest, TakesTheHighestCommonVersion) {
  proto::Hello newer = MakeClientHello();
  newer.set_protocol_max(kProtocolMax + 5);
  EXPECT_EQ(AcceptClient(newer)->version, kProtocolMax);
}

TEST(HelloTest, RefusesWithoutACommonVersionNamingBothRanges) {
  proto::Hello newer = MakeClientHello();
  newer.set_protocol_min(kProtocolMax + 1);
  newer.set_protocol_max(kProtocolMax + 2);
  const auto refused = AcceptClient(newer);
  ASSERT_EQ(refused.status().code(), Code::kProtocol);
  EXPECT_NE(refused.status().message().find("2..3"), std::string::npos);
  EXPECT_NE(refused.status().message().find("1..1"), std::string::npos);
}

TEST(HelloTest, IgnoresUnknownFeatures) {
  proto::Hello hello = MakeClientHello();
  hello.set_features(~uint64_t{0});
  EXPECT_EQ(AcceptClient(hello)->features, kFeatures);
}

TEST(HelloTest, RefusesAnotherFrameFirst) {
  EXPECT_EQ(AcceptClientHello({.type = FrameType::kRequest}, {}).status().code(), Code::kProtocol);
}

TEST(HelloTest, RefusesUnreadableBytes) {
  EXPECT_EQ(AcceptClientHello({.type = FrameType::kHello}, Bytes("\xff\xff")).status().code(),
            Code::kProtocol);
}

TEST(HelloTest, RefusesTermsThatLetNothingThrough) {
  EXPECT_FALSE(AcceptServer(MakeServerHello({.request_credits = 0})).ok());
  EXPECT_FALSE(AcceptServer(MakeServerHello({.byte_credits = 0})).ok());
}

TEST(HelloTest, AnErrorInPlaceOfTheHelloIsThatError) {
  const std::string frame = EncodeError(0, Status(Code::kBusy, "too many connections"));
  const Status status =
      AcceptServerHello({.type = FrameType::kError}, Bytes(frame).subspan(kHeaderSize)).status();
  EXPECT_EQ(status.code(), Code::kBusy);
  EXPECT_EQ(status.message(), "too many connections");
}

TEST(HelloTest, AnErrorWithCodeOkIsStillAnError) {
  EXPECT_EQ(DecodeError({}).code(), Code::kProtocol);
}

}  // namespace
}  // namespace sheaf::transport
