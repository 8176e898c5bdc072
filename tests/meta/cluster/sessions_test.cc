#include "meta/cluster/sessions.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <future>

#include "meta/schema/keys.h"
#include "tests/support/eventually.h"
#include "tests/support/fake_clock.h"
#include "tests/support/memory_kv.h"
#include "tests/support/test_meta.h"

namespace sheaf::meta {
namespace {

using sheaf::testing::Eventually;

class SessionsTest : public ::testing::Test {
 protected:
  SessionsTest() : meta_(store_) {
    options_.tick = std::chrono::milliseconds(1);
    options_.cluster_uuid = "the-cluster";
    Restart();
    // The session that the operations below act in; it has nothing open.
    CHECK(Renew(meta_.session().value(), Newest()).ok());
  }

  void Restart() {
    sessions_.reset();
    auto loaded = Sessions::Load(meta_.executor(), clock_, options_);
    CHECK(loaded.ok(), loaded.status().ToString());
    sessions_ = std::move(*loaded);
  }

  proto::OpenSessionResponse Open() {
    std::promise<Result<proto::OpenSessionResponse>> promise;
    proto::OpenSessionRequest request;
    request.set_description("test");
    sessions_->OpenSession(request, [&](auto result) { promise.set_value(std::move(result)); });
    auto result = promise.get_future().get();
    CHECK(result.ok(), result.status().ToString());
    return *result;
  }
  Status Close(uint64_t session) {
    std::promise<Status> promise;
    sessions_->CloseSession(Incarnation(session), [&](Status s) { promise.set_value(s); });
    return promise.get_future().get();
  }
  Result<proto::RenewSessionResponse> Renew(uint64_t session, uint64_t acked,
                                            std::vector<uint64_t> pins = {}) {
    proto::RenewSessionRequest request;
    request.set_incarnation(session);
    request.set_acked_removal_epoch(acked);
    for (uint64_t pin : pins) request.add_pinned_inodes(pin);
    return sessions_->RenewSession(request);
  }
  Result<proto::RenewSessionResponse> RenewData(uint64_t session, uint64_t acked,
                                                std::vector<uint64_t> pins) {
    proto::RenewSessionRequest request;
    request.set_incarnation(session);
    request.set_acked_removal_epoch(acked);
    for (uint64_t pin : pins) request.add_pinned_data_ids(pin);
    return sessions_->RenewSession(request);
  }
  bool MayReclaim(RemovalEpoch epoch, uint64_t inode) {
    return sessions_->MayReclaim(epoch, {.inode = InodeId(inode)});
  }
  uint64_t Newest() {
    return store_.Rows(std::string(1, 'U')).empty()
               ? 0
               : *KeyField(store_.Rows(std::string(1, 'U')).rbegin()->first, 0);
  }
  uint64_t CreateAndUnlink(const std::string& name) {
    auto created = meta_.Create(1, name);
    CHECK(created.ok() && meta_.Unlink(1, name).ok());
    return created->attr().inode();
  }
  bool RowExists(uint64_t session) {
    return store_.Rows(SessionKey(Incarnation(session))).size() == 1;
  }
  Result<std::string> CreateIn(uint64_t session, const std::string& name, uint64_t sequence) {
    proto::CreateRequest request;
    request.set_parent(1);
    request.set_name(name);
    request.set_mode(0644);
    request.set_open_flags(O_RDWR);
    const RequestId id{Incarnation(session), sequence, sequence};
    request.mutable_ctx()->mutable_request()->set_incarnation(session);
    request.mutable_ctx()->mutable_request()->set_sequence(sequence);
    request.mutable_ctx()->mutable_request()->set_lowest_outstanding(sequence);
    return meta_.executor().Run(id, Bind(&meta::Create, request));
  }

  MemoryKv store_;
  TestMeta meta_;
  FakeClock clock_;
  SessionOptions options_;
  std::unique_ptr<Sessions> sessions_;
};

TEST_F(SessionsTest, IncarnationsAreNeverGivenOutAgain) {
  const proto::OpenSessionResponse first = Open();
  EXPECT_EQ(first.cluster_uuid(), "the-cluster");
  EXPECT_EQ(first.renew_ms(), 5000u);
  EXPECT_EQ(first.lease_ms(), 15000u);
  ASSERT_TRUE(Close(first.incarnation()).ok());
  Restart();
  EXPECT_GT(Open().incarnation(), first.incarnation());
}

TEST_F(SessionsTest, ClosingEndsWhatTheSessionMayDoAndCleansUp) {
  const uint64_t session = Open().incarnation();
  ASSERT_TRUE(CreateIn(session, "a", 1).ok());
  EXPECT_FALSE(store_.Rows(std::string(1, 'W')).empty());
  ASSERT_TRUE(Close(session).ok());
  EXPECT_EQ(CreateIn(session, "b", 2).status().code(), Code::kNoSession);
  EXPECT_TRUE(Eventually([&] { return !RowExists(session); }));
  EXPECT_TRUE(store_.Rows(std::string(1, 'W')).empty());
  EXPECT_TRUE(store_.Rows(ResultKey(Incarnation(session), 1)).empty());
  EXPECT_TRUE(Close(session).ok()) << "again is fine";
  EXPECT_EQ(Renew(session, 0).status().code(), Code::kNoSession);
}

TEST_F(SessionsTest, ExpiresWithoutRenewal) {
  const uint64_t session = Open().incarnation();
  const uint64_t other = Open().incarnation();
  clock_.Advance(options_.lease / 2);
  ASSERT_TRUE(Renew(other, 0).ok());
  clock_.Advance(options_.lease / 2);
  EXPECT_TRUE(Eventually([&] { return !RowExists(session); }));
  EXPECT_EQ(CreateIn(session, "a", 1).status().code(), Code::kNoSession);
  EXPECT_TRUE(RowExists(other));
  EXPECT_TRUE(Renew(other, 0).ok());
}

TEST_F(SessionsTest, RenewalTellsWhatWasRemovedSince) {
  const proto::OpenSessionResponse opened = Open();
  const uint64_t inode = CreateAndUnlink("a");
  auto renewed = Renew(opened.incarnation(), opened.removal_epoch());
  ASSERT_TRUE(renewed.ok());
  ASSERT_EQ(renewed->removed_inodes_size(), 1);
  EXPECT_EQ(renewed->removed_inodes(0), inode);
  const uint64_t epoch = renewed->removal_epoch();
  EXPECT_GT(epoch, opened.removal_epoch());
  renewed = Renew(opened.incarnation(), epoch, {inode});
  ASSERT_TRUE(renewed.ok());
  EXPECT_EQ(renewed->removed_inodes_size(), 0);
  EXPECT_EQ(renewed->removal_epoch(), epoch);
  EXPECT_EQ(Renew(opened.incarnation(), epoch + 1).status().code(), Code::kInvalid);
}

TEST_F(SessionsTest, ALongListOfRemovalsComesInPages) {
  const proto::OpenSessionResponse opened = Open();
  const size_t count = Sessions::kRemovedPage + 5;
  auto fill = [&](OpContext& ctx) -> Result<std::string> {
    ASSIGN_OR_RETURN(const uint64_t first, ctx.Allocate(Sequence::kRemovalEpoch, count));
    for (size_t i = 0; i < count; ++i) {
      ctx.Put(RemovalKey(RemovalEpoch(first + i)), EncodeRemoval({.inode = InodeId(1000 + i)}));
    }
    return std::string();
  };
  ASSERT_TRUE(meta_.executor().Run(std::nullopt, fill).ok());
  auto page = Renew(opened.incarnation(), opened.removal_epoch());
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(static_cast<size_t>(page->removed_inodes_size()), Sessions::kRemovedPage);
  page = Renew(opened.incarnation(), page->removal_epoch());
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->removed_inodes_size(), 5);
}

TEST_F(SessionsTest, ReclaimingWaitsForEverySessionAndItsPins) {
  const uint64_t session = Open().incarnation();
  const uint64_t inode = CreateAndUnlink("a");
  const RemovalEpoch epoch(Newest());
  EXPECT_FALSE(MayReclaim(epoch, inode));
  ASSERT_TRUE(Renew(meta_.session().value(), epoch.value()).ok());
  EXPECT_FALSE(MayReclaim(epoch, inode));
  ASSERT_TRUE(Renew(session, epoch.value(), {inode}).ok());
  EXPECT_FALSE(MayReclaim(epoch, inode));
  EXPECT_TRUE(MayReclaim(epoch, inode + 1));
  ASSERT_TRUE(Close(session).ok());
  EXPECT_TRUE(Eventually([&] { return MayReclaim(epoch, inode); }));
}

TEST_F(SessionsTest, ReplacedDataIsToldAndPinned) {
  const proto::OpenSessionResponse opened = Open();
  const uint64_t inode = meta_.Create(1, "a")->attr().inode();
  ASSERT_TRUE(meta_.Fsync(inode, 1, 100).ok());
  const uint64_t old_data = meta_.GetAttr(inode)->data_id();
  ASSERT_TRUE(meta_.Truncate(inode, 0).ok());
  const RemovalEpoch epoch(Newest());
  const Removal removal = meta_.Removals()->at(0);

  const auto told = Renew(opened.incarnation(), opened.removal_epoch());
  ASSERT_TRUE(told.ok());
  EXPECT_EQ(told->removed_inodes_size(), 0);
  ASSERT_EQ(told->replaced_size(), 1);
  EXPECT_EQ(told->replaced(0).inode(), inode);
  EXPECT_EQ(told->replaced(0).data_id(), old_data);

  ASSERT_TRUE(Renew(meta_.session().value(), epoch.value(), {inode}).ok());
  EXPECT_FALSE(sessions_->MayReclaim(epoch, removal)) << "the other has not answered";
  ASSERT_TRUE(RenewData(opened.incarnation(), epoch.value(), {old_data}).ok());
  EXPECT_FALSE(sessions_->MayReclaim(epoch, removal));
  ASSERT_TRUE(RenewData(opened.incarnation(), epoch.value(), {}).ok());
  EXPECT_TRUE(sessions_->MayReclaim(epoch, removal)) << "the inode's pin is not the data's";
}

TEST_F(SessionsTest, AfterARestartNothingIsReclaimedBeforeEveryoneRenewed) {
  const uint64_t session = Open().incarnation();
  const uint64_t inode = CreateAndUnlink("a");
  const RemovalEpoch epoch(Newest());
  ASSERT_TRUE(Renew(meta_.session().value(), epoch.value()).ok());
  ASSERT_TRUE(Renew(session, epoch.value()).ok());
  ASSERT_TRUE(MayReclaim(epoch, inode));
  Restart();
  EXPECT_EQ(sessions_->Count(), 2u);
  EXPECT_FALSE(MayReclaim(epoch, inode));
  ASSERT_TRUE(Renew(meta_.session().value(), epoch.value()).ok());
  ASSERT_TRUE(Renew(session, epoch.value(), {inode}).ok());
  EXPECT_FALSE(MayReclaim(epoch, inode));
}

TEST_F(SessionsTest, ARestartTakesUpAnEndThatWasUnderWay) {
  const uint64_t session = Open().incarnation();
  sessions_.reset();
  auto fence = [session](OpContext& ctx) -> Result<std::string> {
    ctx.Put(SessionKey(Incarnation(session)), EncodeSession({.fenced = true}));
    return std::string();
  };
  ASSERT_TRUE(meta_.executor().Run(std::nullopt, fence).ok());
  Restart();
  EXPECT_TRUE(Eventually([&] { return !RowExists(session); }));
}

}  // namespace
}  // namespace sheaf::meta
