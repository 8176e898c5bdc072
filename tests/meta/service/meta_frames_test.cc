#include "meta/service/meta_frames.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "common/rpc.h"
#include "common/transport/connection.h"
#include "meta/service/meta_server.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/meta.grpc.pb.h"
#include "tests/support/raw_frame_client.h"
#include "tests/support/temp_dir.h"

namespace sheaf::meta {
namespace {

using sheaf::testing::RawFrameClient;
using sheaf::testing::TempDir;
using transport::Method;

// A whole sheaf-meta in this process, called by frames as the client library does.
class MetaFramesTest : public ::testing::Test {
 protected:
  MetaFramesTest() {
    options_.data_dir = dir_ / "meta";
    options_.listen = "127.0.0.1:0";
    options_.framed = "127.0.0.1:0";
    options_.unix_path = dir_ / "meta.sock";
    options_.metrics = "";
    auto server = MetaServer::Start(options_);
    CHECK(server.ok(), server.status().ToString());
    server_ = std::move(*server);
    grpc::ClientContext context;
    const auto stub = proto::Cluster::NewStub(MakeChannel(server_->address()));
    CHECK(stub->OpenSession(&context, {}, &session_).ok());
  }
  Address Tcp() const {
    return {.host = "127.0.0.1", .port = static_cast<uint16_t>(session_.frames().port())};
  }
  std::shared_ptr<transport::Connection> Open(const Address& address) {
    auto connection = transport::Connection::Open(address, {});
    CHECK(connection.ok(), connection.status().ToString());
    return *connection;
  }
  static Result<transport::Reply> Run(transport::Connection& connection, Method method,
                                      std::string message) {
    return connection.Run({.method = method,
                           .message = std::move(message),
                           .deadline = Clock::System().Now() + std::chrono::seconds(30)});
  }
  proto::MkdirRequest MakeDir(const std::string& name, uint64_t sequence) {
    proto::MkdirRequest request;
    request.set_parent(1);
    request.set_name(name);
    request.set_mode(0755);
    proto::RequestId* id = request.mutable_ctx()->mutable_request();
    id->set_incarnation(session_.incarnation());
    id->set_sequence(sequence);
    id->set_lowest_outstanding(sequence);
    return request;
  }
  static proto::LookupRequest LookUp(const std::string& name) {
    proto::LookupRequest request;
    request.set_parent(1);
    request.set_name(name);
    return request;
  }

  TempDir dir_;
  MetaServerOptions options_;
  std::unique_ptr<MetaServer> server_;
  proto::OpenSessionResponse session_;
};

TEST_F(MetaFramesTest, ASessionIsToldWhereFramesAreTaken) {
  EXPECT_NE(session_.frames().port(), 0u);
  EXPECT_EQ(session_.frames().unix_path(), options_.unix_path);
  EXPECT_EQ(session_.frames().boot_id(), BootId());
}

TEST_F(MetaFramesTest, BothPlanesSeeTheSame) {
  for (const Address& address : {Tcp(), Address{.unix_path = options_.unix_path}}) {
    const auto connection = Open(address);
    const std::string name = address.IsUnix() ? "by-socket" : "by-tcp";
    const auto created = Run(*connection, Method::kMetaMkdir,
                             MakeDir(name, address.IsUnix() ? 2 : 1).SerializeAsString());
    ASSERT_TRUE(created.ok()) << created.status().ToString();
    proto::AttrResponse create;
    ASSERT_TRUE(create.ParseFromString(created->message));
    const auto found = Run(*connection, Method::kMetaLookup, LookUp(name).SerializeAsString());
    proto::AttrResponse by_frame;
    ASSERT_TRUE(found.ok() && by_frame.ParseFromString(found->message));
    EXPECT_EQ(by_frame.attr().inode(), create.attr().inode());

    grpc::ClientContext context;
    proto::AttrResponse by_grpc;
    const auto stub = proto::Meta::NewStub(MakeChannel(server_->address()));
    ASSERT_TRUE(stub->Lookup(&context, LookUp(name), &by_grpc).ok());
    EXPECT_EQ(by_grpc.SerializeAsString(), by_frame.SerializeAsString());
  }
}

TEST_F(MetaFramesTest, ErrorsKeepTheirCodeAndSentence) {
  const auto missing =
      Run(*Open(Tcp()), Method::kMetaLookup, LookUp("missing").SerializeAsString());
  EXPECT_EQ(missing.status().code(), Code::kNotFound);
  EXPECT_FALSE(missing.status().message().empty());
}

// The reply never arrives; the retry, on another connection, is answered with the stored result.
TEST_F(MetaFramesTest, AMutationWhoseAnswerWasLostIsExecutedOnce) {
  const std::string request = MakeDir("once", 1).SerializeAsString();
  {
    RawFrameClient lost(Tcp());
    lost.Greet();
    ASSERT_TRUE(lost.Send(RawFrameClient::Request(1, Method::kMetaMkdir, request)));
  }
  const auto connection = Open(Tcp());
  const auto again = Run(*connection, Method::kMetaMkdir, request);
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  const auto third = Run(*connection, Method::kMetaMkdir, request);
  ASSERT_TRUE(third.ok()) << "it exists, were it executed again";
  EXPECT_EQ(third->message, again->message);
}

TEST_F(MetaFramesTest, EveryCallIsDispatchedAndRefusesWhatItCannotRead) {
  const auto connection = Open(Tcp());
  const std::string rubbish(30, '\xff');
#define X(Name, name, Response)                                                    \
  {                                                                                \
    const Status status = Run(*connection, Method::kMeta##Name, rubbish).status(); \
    EXPECT_EQ(status.code(), Code::kInvalid) << #Name;                             \
    EXPECT_NE(status.message().find(#Name "Request"), std::string::npos) << #Name; \
  }
  SHEAF_ALL_META_CALLS(X)
#undef X
  EXPECT_EQ(Run(*connection, Method::kRead, "").status().code(), Code::kUnsupported);
  EXPECT_EQ(Run(*connection, static_cast<Method>(999), "").status().code(), Code::kUnsupported);
}

TEST_F(MetaFramesTest, ACallerWithTooManyGroupsIsRefused) {
  proto::LookupRequest request = LookUp("a");
  for (int i = 0; i <= MetaCalls::kMaxGroups; ++i) {
    request.mutable_ctx()->mutable_caller()->add_groups(1);
  }
  EXPECT_EQ(Run(*Open(Tcp()), Method::kMetaLookup, request.SerializeAsString()).status().code(),
            Code::kInvalid);
}

TEST_F(MetaFramesTest, TheSocketGoesWithTheService) {
  EXPECT_TRUE(std::filesystem::exists(options_.unix_path));
  const auto connection = Open(Tcp());
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(options_.unix_path));
  EXPECT_EQ(Run(*connection, Method::kMetaLookup, "").status().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace sheaf::meta
