#include "client/meta/session.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/client/meta/fake_services.h"

namespace sheaf::client {
namespace {

struct FakeOpen : OpenInodes {
  uint64_t OpenMark() const override { return 1; }
  bool OpensSettled(uint64_t) const override { return settled; }
  bool IsOpen(InodeId inode) const override {
    const std::lock_guard lock(mutex);
    return open.contains(inode.value());
  }
  bool UsesData(InodeId inode, DataId data) const override {
    const std::lock_guard lock(mutex);
    return used_data.contains({inode.value(), data.value()});
  }
  void Close(uint64_t inode) {
    const std::lock_guard lock(mutex);
    open.erase(inode);
  }
  mutable std::mutex mutex;
  std::set<uint64_t> open;
  std::set<std::pair<uint64_t, uint64_t>> used_data;
  std::atomic<bool> settled = true;
};

class SessionTest : public ::testing::Test {
 protected:
  void Open() {
    auto session = Session::Open(cluster_, "test", open_);
    CHECK(session.ok(), session.status().ToString());
    session_ = std::move(*session);
  }
  void Remove(std::set<uint64_t> inodes, uint64_t epoch) {
    const std::lock_guard lock(services_.cluster.mutex);
    services_.cluster.removed = std::move(inodes);
    services_.cluster.removal_epoch = epoch;
  }

  FakeServices services_;
  ClusterClient cluster_{services_.server->address()};
  FakeOpen open_;
  std::unique_ptr<Session> session_;
};

TEST_F(SessionTest, PinsRemovedInodesThatAreOpenUntilTheyAreClosed) {
  open_.open = {5, 6};
  Open();
  Remove({4, 5}, 3);
  auto renewal = services_.cluster.WaitRenewal(
      [](const auto& r) { return r.acked_removal_epoch() == 3; });
  ASSERT_EQ(renewal.pinned_inodes_size(), 1);
  EXPECT_EQ(renewal.pinned_inodes(0), 5u);
  // Each renewal names all of them again.
  renewal = services_.cluster.WaitRenewal([](const auto&) { return true; });
  EXPECT_EQ(renewal.pinned_inodes_size(), 1);
  open_.Close(5);
  session_->InodeClosed(InodeId(5));
  renewal = services_.cluster.WaitRenewal([](const auto& r) { return r.pinned_inodes_size() == 0; });
  EXPECT_EQ(renewal.acked_removal_epoch(), 3u);
}

TEST_F(SessionTest, PinsReplacedDataThatAHandleStillReads) {
  open_.used_data = {{5, 50}, {6, 61}};
  Open();
  {
    const std::lock_guard lock(services_.cluster.mutex);
    services_.cluster.replaced = {{5, 50}, {6, 60}};  // 6 has gone on to 61
    services_.cluster.removal_epoch = 3;
  }
  auto renewal = services_.cluster.WaitRenewal(
      [](const auto& r) { return r.acked_removal_epoch() == 3; });
  ASSERT_EQ(renewal.pinned_data_ids_size(), 1);
  EXPECT_EQ(renewal.pinned_data_ids(0), 50u);
  EXPECT_EQ(renewal.pinned_inodes_size(), 0);
  {
    const std::lock_guard lock(open_.mutex);
    open_.used_data.clear();
  }
  session_->InodeClosed(InodeId(5));
  renewal =
      services_.cluster.WaitRenewal([](const auto& r) { return r.pinned_data_ids_size() == 0; });
  EXPECT_EQ(renewal.acked_removal_epoch(), 3u);
}

TEST_F(SessionTest, AcknowledgesRemovalsOnlyOnceOpensUnderWayHaveSettled) {
  open_.settled = false;
  Open();
  Remove({5}, 3);
  for (int i = 0; i < 3; ++i) {
    const auto renewal = services_.cluster.WaitRenewal([](const auto&) { return true; });
    EXPECT_EQ(renewal.acked_removal_epoch(), 0u);
  }
  {
    const std::lock_guard lock(open_.mutex);
    open_.open = {5};
  }
  open_.settled = true;
  const auto renewal = services_.cluster.WaitRenewal(
      [](const auto& r) { return r.acked_removal_epoch() == 3; });
  EXPECT_EQ(renewal.pinned_inodes_size(), 1);
}

TEST_F(SessionTest, OpensANewSessionWhenTheOldOneIsUnknown) {
  Open();
  EXPECT_EQ(session_->incarnation(), Incarnation(1));
  {
    const std::lock_guard lock(services_.cluster.mutex);
    services_.cluster.alive.clear();
  }
  services_.cluster.WaitRenewal([](const auto& r) { return r.incarnation() == 2; });
  EXPECT_EQ(session_->incarnation(), Incarnation(2));
}

TEST_F(SessionTest, ReplacesASessionOnceHoweverManyAskForIt) {
  Open();
  const Incarnation lost = session_->incarnation();
  ASSERT_TRUE(session_->Replace(lost).ok());
  ASSERT_TRUE(session_->Replace(lost).ok());
  EXPECT_EQ(session_->incarnation(), Incarnation(2));
}

TEST_F(SessionTest, EndsAtTheServiceWhenDestroyed) {
  Open();
  session_.reset();
  const std::lock_guard lock(services_.cluster.mutex);
  EXPECT_TRUE(services_.cluster.closed.contains(1));
}

}  // namespace
}  // namespace sheaf::client
