#include "meta/cluster/sessions.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "meta/schema/keys.h"
#include "tests/support/eventually.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_fence.h"
#include "tests/support/fake_prober.h"
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
    auto loaded = Sessions::Load({meta_.executor(), fence_, prober_, clock_}, options_);
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

  // A file that `session` has open for writing, of which the chains hold `bytes`.
  proto::Attr WriteUnsynced(uint64_t session, const std::string& name, Result<uint64_t> bytes) {
    proto::CreateResponse created;
    const auto answer = CreateIn(session, name, ++sequence_);
    CHECK(answer.ok() && created.ParseFromString(*answer));
    prober_.Set(DataId(created.attr().data_id()), std::move(bytes));
    return created.attr();
  }
  std::future<Status> StartClose(uint64_t session) {
    auto promise = std::make_shared<std::promise<Status>>();
    sessions_->CloseSession(Incarnation(session), [promise](Status s) { promise->set_value(s); });
    return promise->get_future();
  }
  bool IsRefused(uint64_t session) {
    const auto rows = store_.Rows(SessionKey(Incarnation(session)));
    return rows.empty() || DecodeSession(rows.begin()->second)->fenced;
  }
  uint64_t Length(const proto::Attr& file) { return meta_.GetAttr(file.inode())->size(); }
  size_t WriteOpens() { return store_.Rows(std::string(1, 'W')).size(); }

  MemoryKv store_;
  TestMeta meta_;
  uint64_t sequence_ = 0;
  FakeClock clock_;
  FakeFence fence_;
  FakeProber prober_;
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
  EXPECT_TRUE(Eventually([&] { return sessions_->Count() == 2; }));
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

const Status kAway(Code::kUnavailable, "chain 3 does not serve");

TEST_F(SessionsTest, FilesLeftOpenForWritingGrowToWhatTheChainsHold) {
  const uint64_t session = Open().incarnation();
  const proto::Attr longer = WriteUnsynced(session, "a", 5000);
  const proto::Attr empty = WriteUnsynced(session, "b", 0);
  ASSERT_TRUE(Close(session).ok());
  EXPECT_EQ(Length(longer), 5000u) << "settled when the close is answered";
  EXPECT_EQ(Length(empty), 0u);
  EXPECT_EQ(meta_.TotalUsage().bytes, 5000u);
  EXPECT_EQ(WriteOpens(), 0u);
  EXPECT_TRUE(Eventually([&] { return !RowExists(session); }));
}

TEST_F(SessionsTest, MoreFilesThanAPageAreSettled) {
  const uint64_t session = Open().incarnation();
  std::vector<proto::Attr> files;
  for (size_t i = 0; i < 2 * SessionSettler::kPage + 3; ++i) {
    files.push_back(WriteUnsynced(session, "f" + std::to_string(i), 100 + i));
  }
  ASSERT_TRUE(Close(session).ok());
  for (size_t i = 0; i < files.size(); ++i) EXPECT_EQ(Length(files[i]), 100 + i);
}

TEST_F(SessionsTest, LengthsAreSettledAndPinsGoOnlyOnceStorageHasFenced) {
  const uint64_t session = Open().incarnation();
  const uint64_t inode = CreateAndUnlink("gone");
  const RemovalEpoch epoch(Newest());
  ASSERT_TRUE(Renew(meta_.session().value(), epoch.value()).ok());
  ASSERT_TRUE(Renew(session, epoch.value(), {inode}).ok());
  const proto::Attr file = WriteUnsynced(session, "a", 5000);
  fence_.Hold();
  auto closed = StartClose(session);
  ASSERT_TRUE(Eventually([&] { return IsRefused(session) && fence_.asked(); }));
  // With the second look all is done that follows from the first.
  ASSERT_TRUE(Eventually([&] { return fence_.looks() >= 2; }));
  EXPECT_EQ(prober_.calls(), 0) << "its writes may still take effect";
  EXPECT_FALSE(MayReclaim(epoch, inode));
  fence_.Release();
  EXPECT_TRUE(closed.get().ok());
  EXPECT_EQ(Length(file), 5000u);
  EXPECT_TRUE(MayReclaim(epoch, inode));
}

// Asked before, it might look before the end is there, and never fence this session.
TEST_F(SessionsTest, StorageIsAskedToFenceOnceTheEndIsDurable) {
  const uint64_t session = Open().incarnation();
  std::atomic<int> asked = 0;
  std::atomic<int> too_early = 0;
  fence_.WhenAsked([&] {
    ++asked;
    if (!IsRefused(session)) ++too_early;
  });
  EXPECT_TRUE(Close(session).ok());
  EXPECT_TRUE(Eventually([&] { return asked > 0; }));
  fence_.WhenAsked(nullptr);
  EXPECT_EQ(too_early, 0);
}

TEST_F(SessionsTest, AnEndThatCouldNotBeWrittenIsTriedAgain) {
  const uint64_t session = Open().incarnation();
  fence_.Hold();
  store_.FailNextWrite({Code::kNoSpace, "told to fail"});
  EXPECT_FALSE(Close(session).ok());
  EXPECT_TRUE(Eventually([&] { return IsRefused(session); }));
}

TEST_F(SessionsTest, WhoWaitsForAFenceIsAnsweredWhenTheServiceStops) {
  const uint64_t session = Open().incarnation();
  WriteUnsynced(session, "a", 5000);
  fence_.Hold();
  auto closed = StartClose(session);
  ASSERT_TRUE(Eventually([&] { return IsRefused(session) && fence_.asked(); }));
  sessions_->Stop();
  ASSERT_EQ(closed.wait_for(std::chrono::seconds(0)), std::future_status::ready);
  EXPECT_EQ(closed.get().code(), Code::kUnavailable);
}

TEST_F(SessionsTest, ASessionWithNothingOpenForWritingNeedNotWaitForStorage) {
  const uint64_t session = Open().incarnation();
  fence_.Hold();
  EXPECT_TRUE(Close(session).ok());
  EXPECT_TRUE(IsRefused(session));
  EXPECT_TRUE(RowExists(session)) << "but it is remembered until then";
}

TEST_F(SessionsTest, AChainThatIsAwayHoldsUpItsSessionAlone) {
  const uint64_t session = Open().incarnation();
  const proto::Attr sick = WriteUnsynced(session, "sick", kAway);
  const proto::Attr well = WriteUnsynced(session, "well", 700);
  EXPECT_EQ(Close(session).code(), Code::kUnavailable);
  EXPECT_EQ(Length(well), 700u);
  EXPECT_EQ(WriteOpens(), 1u);
  EXPECT_EQ(sessions_->Unsettled(), 1u);

  const uint64_t other = Open().incarnation();
  EXPECT_TRUE(Close(other).ok());
  EXPECT_TRUE(Eventually([&] { return !RowExists(other); }));
  const RemovalEpoch epoch(Newest() + 1);
  const uint64_t inode = CreateAndUnlink("removed");
  ASSERT_TRUE(Renew(meta_.session().value(), epoch.value()).ok());
  EXPECT_TRUE(MayReclaim(epoch, inode)) << "its pins are gone";

  prober_.Set(DataId(sick.data_id()), 900);
  clock_.Advance(options_.first_retry);
  EXPECT_TRUE(Eventually([&] { return !RowExists(session); }));
  EXPECT_EQ(Length(sick), 900u);
  EXPECT_TRUE(Eventually([&] { return sessions_->Unsettled() == 0; }));
}

TEST_F(SessionsTest, ATruncateWhileTheChainsAreLookedAtIsNotUndone) {
  const uint64_t session = Open().incarnation();
  const proto::Attr file = WriteUnsynced(session, "a", 5000);
  ASSERT_TRUE(meta_.Fsync(file.inode(), 1, 5000).ok());
  prober_.Set(DataId(file.data_id()), 6000);
  prober_.Meanwhile([&] {
    // Another client's, from its first step to its last.
    ASSERT_TRUE(meta_.Truncate(file.inode(), 40).ok());
    const auto intent = ReadTruncateIntent(*meta_.executor().Committed(), InodeId(file.inode()));
    ASSERT_TRUE(intent.ok());
    ASSERT_TRUE(meta_
                    .Run([&](OpContext& ctx) {
                      return FinishTruncate(ctx, InodeId(file.inode()), *intent);
                    })
                    .ok());
    prober_.Set(DataId(file.data_id()), 40);
  });
  EXPECT_EQ(Close(session).code(), Code::kUnavailable);
  EXPECT_EQ(Length(file), 40u);
  clock_.Advance(options_.first_retry);
  EXPECT_TRUE(Eventually([&] { return !RowExists(session); }));
  EXPECT_EQ(Length(file), 40u);
}

TEST_F(SessionsTest, ChunksAreNotLookedAtWhileATailIsTrimmed) {
  const uint64_t session = Open().incarnation();
  const proto::Attr file = WriteUnsynced(session, "a", 5000);
  ASSERT_TRUE(meta_.Fsync(file.inode(), 1, 5000).ok());
  ASSERT_TRUE(meta_.Truncate(file.inode(), 40).ok());
  EXPECT_EQ(Close(session).code(), Code::kUnavailable);
  EXPECT_EQ(prober_.calls(), 0);
  EXPECT_EQ(Length(file), 40u);
}

TEST_F(SessionsTest, ARestartBeforeStorageHasFencedGoesOn) {
  const uint64_t session = Open().incarnation();
  const proto::Attr file = WriteUnsynced(session, "a", 5000);
  fence_.Hold();
  auto closed = StartClose(session);
  ASSERT_TRUE(Eventually([&] { return IsRefused(session); }));
  Restart();
  EXPECT_EQ(closed.get().code(), Code::kUnavailable);
  fence_.Release();
  EXPECT_TRUE(Eventually([&] { return !RowExists(session); }));
  EXPECT_EQ(Length(file), 5000u);
}

TEST_F(SessionsTest, ARestartInTheMiddleOfSettlingGoesOnWithTheRest) {
  const uint64_t session = Open().incarnation();
  const proto::Attr sick = WriteUnsynced(session, "sick", kAway);
  const proto::Attr well = WriteUnsynced(session, "well", 700);
  ASSERT_EQ(Close(session).code(), Code::kUnavailable);
  Restart();
  // Settled before: what its chains say now is another writer's business.
  prober_.Set(DataId(well.data_id()), 10000);
  prober_.Set(DataId(sick.data_id()), 900);
  clock_.Advance(options_.first_retry);
  EXPECT_TRUE(Eventually([&] { return !RowExists(session); }));
  EXPECT_EQ(Length(sick), 900u);
  EXPECT_EQ(Length(well), 700u);
}

TEST_F(SessionsTest, ARestartBeforeTheRowsAreGoneGoesOn) {
  const uint64_t session = Open().incarnation();
  ASSERT_TRUE(CreateIn(session, "a", 1).ok());
  sessions_.reset();
  // Settled, so that of the session its results and its row are left.
  auto settled = [session](OpContext& ctx) -> Result<std::string> {
    ctx.Put(SessionKey(Incarnation(session)), EncodeSession({.fenced = true}));
    RETURN_IF_ERROR(DropWriteOpens(ctx, Incarnation(session), 10).status());
    return std::string();
  };
  ASSERT_TRUE(meta_.executor().Run(std::nullopt, settled).ok());
  Restart();
  EXPECT_TRUE(Eventually([&] { return !RowExists(session); }));
  EXPECT_TRUE(store_.Rows(ResultKey(Incarnation(session), 1)).empty());
}

TEST_F(SessionsTest, TheServiceHasANewSessionAtEachStartOnceTheOneBeforeIsFenced) {
  const Incarnation first = *sessions_->ServiceIdentity();
  EXPECT_TRUE(RowExists(first.value()));
  EXPECT_EQ(Renew(first.value(), 0).status().code(), Code::kNoSession) << "not a client's";
  fence_.Hold();
  Restart();
  EXPECT_EQ(sessions_->ServiceIdentity().status().code(), Code::kUnavailable);
  ASSERT_TRUE(IsRefused(first.value()));
  Restart();
  EXPECT_EQ(sessions_->ServiceIdentity().status().code(), Code::kUnavailable);
  fence_.Release();
  const auto third = sessions_->ServiceIdentity();
  ASSERT_TRUE(third.ok());
  EXPECT_GT(*third, first);
  EXPECT_TRUE(Eventually([&] { return !RowExists(first.value()); }));
  EXPECT_TRUE(RowExists(third->value()));
}

}  // namespace
}  // namespace sheaf::meta
