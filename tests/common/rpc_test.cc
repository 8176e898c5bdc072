#include "common/rpc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/cluster.grpc.pb.h"

namespace sheaf {
namespace {

using ::testing::HasSubstr;

// Answers every GetStatus with the status it was given.
class Answering final : public proto::Cluster::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const proto::GetStatusRequest*,
                                      proto::ClusterStatus*) override {
    auto* reactor = context->DefaultReactor();
    const Status admitted = AdmitCall(*context);
    reactor->Finish(admitted.ok() ? answer : ToGrpc(admitted));
    return reactor;
  }
  grpc::Status answer;
};

class RpcTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = RpcServer::Start({.listen = "127.0.0.1:0", .services = {&service_}});
    ASSERT_TRUE(started.ok()) << started.status().ToString();
    server_ = std::move(started).value();
    stub_ = proto::Cluster::NewStub(MakeChannel(server_->address()));
  }

  Status Ask() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    proto::ClusterStatus response;
    return FromGrpc(stub_->GetStatus(&context, {}, &response));
  }

  void ExpectRoundTrip(const Status& sent) {
    service_.answer = ToGrpc(sent);
    const Status got = Ask();
    EXPECT_EQ(got.code(), sent.code()) << got.ToString();
    if (!sent.ok()) {
      EXPECT_EQ(got.message(), sent.message());
    }
  }

  Answering service_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<proto::Cluster::Stub> stub_;
};

TEST_F(RpcTest, EveryCodeComesBackAsItWas) {
#define X(name, number, err, grpc_code, retry)             \
  ExpectRoundTrip(Status(Code::name, "text of " #name)); \
  EXPECT_TRUE(grpc_code == 0 || ToGrpc(Status(Code::name, "")).error_code() == grpc_code) << #name;
  SHEAF_STATUS_TABLE(X)
#undef X
}

TEST_F(RpcTest, PlainGrpcCodesAreMapped) {
  const std::pair<grpc::StatusCode, Code> cases[] = {
      {grpc::StatusCode::UNAVAILABLE, Code::kUnavailable},
      {grpc::StatusCode::DEADLINE_EXCEEDED, Code::kDeadline},
      {grpc::StatusCode::CANCELLED, Code::kCancelled},
      {grpc::StatusCode::UNIMPLEMENTED, Code::kUnsupported},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, Code::kBusy},
      {grpc::StatusCode::INTERNAL, Code::kIo},
      {grpc::StatusCode::NOT_FOUND, Code::kIo}};
  for (const auto& [plain, code] : cases) {
    service_.answer = grpc::Status(plain, "plain");
    EXPECT_EQ(Ask().code(), code) << plain;
  }
}

TEST(RpcStatusTest, DetailsThatAreNoCodeNeverBecomeSuccess) {
  for (const char* details : {"0", "x", "12x", "-1", "99999999999999"}) {
    const grpc::Status status(grpc::StatusCode::UNAVAILABLE, "t", details);
    EXPECT_EQ(FromGrpc(status).code(), Code::kUnavailable) << details;
  }
  EXPECT_EQ(FromGrpc({grpc::StatusCode::UNAVAILABLE, "t", "9999"}).code(), Code::kIo);
}

TEST_F(RpcTest, ASecondServerOnThePortIsRefused) {
  auto second = RpcServer::Start({.listen = server_->address(), .services = {&service_}});
  EXPECT_EQ(second.status().code(), Code::kExists);
  EXPECT_THAT(second.status().message(), HasSubstr(server_->address()));
}

TEST_F(RpcTest, AStoppedServerIsUnavailableAndFoundAgain) {
  const std::string address = server_->address();
  ASSERT_TRUE(Ask().ok());
  server_.reset();
  EXPECT_EQ(Ask().code(), Code::kUnavailable);
  auto again = RpcServer::Start({.listen = address, .services = {&service_}});
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  auto channel = MakeChannel(address);
  ASSERT_TRUE(WaitConnected(channel, address, std::chrono::seconds(20)).ok());
  stub_ = proto::Cluster::NewStub(channel);
  EXPECT_TRUE(Ask().ok());
}

TEST_F(RpcTest, ConnectingToNobodyNamesTheAddress) {
  const std::string address = server_->address();
  server_.reset();
  const Status status = WaitConnected(MakeChannel(address), address, std::chrono::milliseconds(50));
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr(address));
}

TEST(RpcServerTest, RefusesAnAddressThatIsNone) {
  EXPECT_EQ(RpcServer::Start({.listen = "nowhere"}).status().code(), Code::kUsage);
}

}  // namespace
}  // namespace sheaf
