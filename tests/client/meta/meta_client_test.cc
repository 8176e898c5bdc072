#include "client/meta/meta_client.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>

#include "tests/client/meta/fake_services.h"
#include "tests/support/frame_server.h"

namespace sheaf::client {
namespace {

using sheaf::testing::FrameServer;

struct NothingOpen : OpenInodes {
  uint64_t OpenMark() const override { return 0; }
  bool OpensSettled(uint64_t) const override { return true; }
  bool IsOpen(InodeId) const override { return false; }
  bool UsesData(InodeId, DataId) const override { return false; }
};

class MetaClientTest : public ::testing::Test {
 protected:
  MetaClientTest() : cluster_(services_.server->address()) {
    // Which session a call finds is the test's to say: no renewal comes in between.
    services_.cluster.renew_ms = 3'600'000;
    auto session = Session::Open(cluster_, "test", open_);
    CHECK(session.ok(), session.status().ToString());
    session_ = std::move(*session);
    meta_ = std::make_unique<MetaClient>(services_.server->address(),
                                         std::chrono::milliseconds(30'000), *session_);
  }
  Result<proto::AttrResponse> Mkdir() { return meta_->Mkdir({}, proto::MkdirRequest()); }
  // The session is not known any more.
  void ForgetSession() {
    const std::lock_guard lock(services_.cluster.mutex);
    services_.cluster.alive.clear();
  }

  FakeServices services_;
  NothingOpen open_;
  ClusterClient cluster_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<MetaClient> meta_;
};

TEST_F(MetaClientTest, RepeatsAMutationUnderTheSameRequestId) {
  services_.meta.FailNext(Code::kBusy);
  services_.meta.FailNext(Code::kUnavailable);
  services_.meta.FailNext(Code::kDeadline);
  ASSERT_TRUE(Mkdir().ok());
  ASSERT_EQ(services_.meta.ids.size(), 4u);
  for (const auto& id : services_.meta.ids) {
    EXPECT_EQ(id.sequence(), 1u);
    EXPECT_EQ(id.lowest_outstanding(), 1u);
  }
}

// Frames that carry the calls, or none: what is told may lead nowhere.
class MetaClientFramesTest : public MetaClientTest {
 protected:
  void Tell(const proto::MetaFrames& frames) {
    services_.cluster.frames = frames;
    ForgetSession();
    CHECK(session_->Replace(session_->incarnation()).ok());
  }
};

TEST_F(MetaClientFramesTest, CallsGoByFramesWhereTheServiceTakesThem) {
  std::atomic<int> framed = 0;
  auto server = FrameServer::Start(
      [&](const std::shared_ptr<FrameServer::Peer>& peer, const FrameServer::Request& request) {
        EXPECT_EQ(request.header.method, transport::Method::kMetaMkdir);
        if (++framed == 1) {
          peer->Refuse(request.header.request_id, Status(Code::kBusy, "a full queue"));
          return;
        }
        proto::AttrResponse response;
        response.mutable_attr()->set_inode(77);
        peer->Respond(request.header.request_id, response.SerializeAsString());
      });
  ASSERT_TRUE(server.ok());
  proto::MetaFrames told;
  told.set_port((*server)->address().port);
  Tell(told);
  const auto made = Mkdir();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_EQ(made->attr().inode(), 77u);
  EXPECT_EQ(framed, 2);
  EXPECT_TRUE(services_.meta.ids.empty()) << "none went by gRPC";
}

TEST_F(MetaClientFramesTest, AnAnswerLostWithItsConnectionIsAskedForUnderTheSameRequestId) {
  std::atomic<uint64_t> lost = 0;
  auto server = FrameServer::Start(
      [&](const std::shared_ptr<FrameServer::Peer>& peer, const FrameServer::Request& request) {
        proto::MkdirRequest mkdir;
        EXPECT_TRUE(mkdir.ParseFromString(request.message));
        lost = mkdir.ctx().request().sequence();
        peer->Close();
      });
  ASSERT_TRUE(server.ok());
  proto::MetaFrames told;
  told.set_port((*server)->address().port);
  Tell(told);
  ASSERT_TRUE(Mkdir().ok()) << "by gRPC, as the connection broke at once";
  ASSERT_EQ(services_.meta.ids.size(), 1u);
  EXPECT_EQ(services_.meta.ids[0].sequence(), lost);
}

TEST_F(MetaClientFramesTest, FramesThatCannotBeHadLeaveGrpc) {
  proto::MetaFrames told;
  told.set_port(1);  // nobody listens there
  told.set_unix_path("/nowhere/meta.sock");
  told.set_boot_id(BootId());
  Tell(told);
  ASSERT_TRUE(Mkdir().ok());
  ASSERT_TRUE(Mkdir().ok());
  EXPECT_EQ(services_.meta.ids.size(), 2u);
}

TEST_F(MetaClientFramesTest, AnUnreadableAnswerIsAnError) {
  auto server = FrameServer::Start(
      [](const std::shared_ptr<FrameServer::Peer>& peer, const FrameServer::Request& request) {
        peer->Respond(request.header.request_id, std::string(30, '\xff'));
      });
  ASSERT_TRUE(server.ok());
  proto::MetaFrames told;
  told.set_port((*server)->address().port);
  Tell(told);
  EXPECT_EQ(Mkdir().status().code(), Code::kProtocol);
}

TEST_F(MetaClientTest, GivesEachMutationTheNextSequence) {
  ASSERT_TRUE(Mkdir().ok());
  ASSERT_TRUE(Mkdir().ok());
  EXPECT_EQ(services_.meta.ids[1].sequence(), 2u);
  EXPECT_EQ(services_.meta.ids[1].lowest_outstanding(), 2u);
}

TEST_F(MetaClientTest, AnswersPosixErrorsAsTheyAre) {
  services_.meta.FailNext(Code::kExists);
  EXPECT_EQ(Mkdir().status().code(), Code::kExists);
  EXPECT_EQ(services_.meta.ids.size(), 1u);
}

TEST_F(MetaClientTest, GoesOnUnderANewSessionWhenNothingWasExecuted) {
  ForgetSession();
  services_.meta.FailNext(Code::kBusy);
  services_.meta.FailNext(Code::kNoSession);
  ASSERT_TRUE(Mkdir().ok());
  ASSERT_EQ(services_.meta.ids.size(), 3u);
  EXPECT_EQ(services_.meta.ids[0].incarnation(), 1u);
  EXPECT_EQ(services_.meta.ids[2].incarnation(), 2u);
  EXPECT_EQ(services_.meta.ids[2].sequence(), 1u);
}

TEST_F(MetaClientTest, DoesNotRepeatAMutationWhoseOutcomeIsUnknown) {
  services_.meta.FailNext(Code::kUnavailable);
  services_.meta.FailNext(Code::kNoSession);
  EXPECT_EQ(Mkdir().status().code(), Code::kNoSession);
  EXPECT_EQ(services_.meta.ids.size(), 2u);
}

TEST_F(MetaClientTest, DoesNotRepeatASetAttrWhoseOutcomeIsUnknown) {
  services_.meta.FailNext(Code::kUnavailable);
  services_.meta.FailNext(Code::kNoSession);
  EXPECT_EQ(meta_->SetAttr({}, proto::SetAttrRequest()).status().code(), Code::kNoSession)
      << "another client's later change would be undone";
  EXPECT_EQ(services_.meta.ids.size(), 2u);
}

TEST_F(MetaClientTest, NeverClosesUnderAnotherSession) {
  proto::CloseRequest request;
  request.mutable_report()->set_length(7);
  services_.meta.FailNext(Code::kNoSession);
  ASSERT_TRUE(meta_->Close({}, request).ok());
  EXPECT_EQ(services_.meta.calls, (std::vector<std::string>{"close+report", "fsync"}));
}

TEST_F(MetaClientTest, ReportsTheLengthOfAFileThatAnEarlierSessionOpened) {
  proto::CloseRequest request;
  request.mutable_report()->set_length(7);
  request.mutable_ctx()->mutable_request()->set_incarnation(session_->incarnation().value() + 1);
  ASSERT_TRUE(meta_->Close({}, request).ok());
  EXPECT_EQ(services_.meta.calls, std::vector<std::string>{"fsync"});
  request.mutable_ctx()->mutable_request()->set_incarnation(session_->incarnation().value());
  ASSERT_TRUE(meta_->Close({}, request).ok());
  EXPECT_EQ(services_.meta.calls.back(), "close+report");
}

TEST_F(MetaClientTest, SaysWhatFailedLastWhenTheWaitHasPassed) {
  for (int i = 0; i < 10'000; ++i) services_.meta.FailNext(Code::kBusy);
  // A wait may be too short for even one answer on a machine that is busy: then a longer one.
  Status status;
  for (std::chrono::milliseconds wait{30}; wait < std::chrono::seconds(60); wait *= 2) {
    MetaClient hasty(services_.server->address(), wait, *session_);
    status = hasty.GetAttr({}, proto::GetAttrRequest()).status();
    ASSERT_EQ(status.code(), Code::kDeadline);
    EXPECT_EQ(status.ToErrno(), EIO);
    if (status.message().find("told to fail") != std::string::npos) break;
  }
  EXPECT_NE(status.message().find("told to fail"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace sheaf::client
