#include "meta/check/check_runs.h"

#include <gmock/gmock.h>

#include "meta/check/data_list.h"
#include "tests/meta/check/check_test.h"

namespace sheaf::meta {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class CheckRunsTest : public CheckTest {
 protected:
  CheckRuns runs_{meta_.executor(), clock_, {.tick = std::chrono::milliseconds(1)}};

  Code StepCode(uint64_t check) {
    proto::StepCheckRequest request;
    request.set_check(check);
    return runs_.Step(request).status().code();
  }
  std::vector<uint64_t> Drop(uint64_t check, std::vector<uint64_t> ids) {
    proto::DropOrphansRequest request;
    request.set_check(check);
    for (uint64_t id : ids) request.add_data_ids(id);
    const auto answer = runs_.DropOrphans(request);
    EXPECT_TRUE(answer.ok()) << answer.status().ToString();
    return {answer->queued().begin(), answer->queued().end()};
  }
};

TEST_F(CheckRunsTest, OneAtATime) {
  const uint64_t first = runs_.Begin()->check();
  EXPECT_EQ(runs_.Begin().status().code(), Code::kBusy);
  EXPECT_EQ(StepCode(first), Code::kOk);
  EXPECT_EQ(StepCode(first + 1), Code::kStale);
  proto::EndCheckRequest end;
  end.set_check(first);
  EXPECT_TRUE(runs_.End(end).ok());
  EXPECT_EQ(StepCode(first), Code::kStale);
  EXPECT_TRUE(runs_.Begin().ok());
}

TEST_F(CheckRunsTest, OneThatNobodyStepsIsDropped) {
  const uint64_t first = runs_.Begin()->check();
  clock_.Advance(std::chrono::seconds(61));
  EXPECT_EQ(StepCode(first), Code::kStale);
  EXPECT_TRUE(runs_.Begin().ok());
}

TEST_F(CheckRunsTest, RepairsOfACheckThatIsOverAreRefused) {
  Edit([&](OpContext& ctx) { ctx.Put(UsageKey(), EncodeUsage({.inodes = 1000})); });
  proto::RepairFindingRequest request;
  request.set_check(runs_.Begin()->check());
  *request.mutable_finding() = Check().at(0);
  EXPECT_TRUE(runs_.Repair(request)->repaired());
  proto::EndCheckRequest end;
  end.set_check(request.check());
  ASSERT_TRUE(runs_.End(end).ok());
  EXPECT_EQ(runs_.Repair(request).status().code(), Code::kStale);
  EXPECT_EQ(meta_.TotalUsage().inodes, 6u);
}

TEST_F(CheckRunsTest, ARepairOfNonsenseIsRefused) {
  proto::RepairFindingRequest request;
  request.set_check(runs_.Begin()->check());
  proto::Finding& finding = *request.mutable_finding();
  finding.set_inode(dir_);
  finding.set_inode_version(Attr(dir_).version());
  for (auto kind : {proto::WRONG_NEXT_COOKIE, proto::WRONG_PARENT}) {
    finding.set_kind(kind);
    EXPECT_EQ(runs_.Repair(request).status().code(), Code::kInvalid);
  }
  finding.set_kind(proto::WRONG_LINKS);
  finding.set_expected(UINT64_MAX);
  EXPECT_EQ(runs_.Repair(request).status().code(), Code::kInvalid);
  finding.set_kind(proto::DANGLING_DENTRY);
  finding.set_name(std::string(300, 'x'));
  EXPECT_FALSE(runs_.Repair(request)->repaired());
  finding.set_kind(static_cast<proto::FindingKind>(999));
  finding.clear_name();
  EXPECT_FALSE(runs_.Repair(request)->repaired());
  EXPECT_THAT(Kinds(Check()), IsEmpty());
}

TEST_F(CheckRunsTest, ListsEveryDataIdThatMayHaveChunks) {
  proto::ListDataRequest request;
  request.set_check(runs_.Begin()->check());
  std::map<uint64_t, uint64_t> inode_of;
  uint64_t next = 0;
  do {
    const auto page = runs_.List(request);
    ASSERT_TRUE(page.ok());
    for (const auto& entry : page->entries()) inode_of.emplace(entry.data_id(), entry.inode());
    next = page->next_data_id();
    request.set_cursor(page->cursor());
  } while (!request.cursor().empty());
  // file, deep before it was emptied, written, removed, deep now: all that were ever given out.
  EXPECT_EQ(inode_of.size(), next - 1);
  EXPECT_EQ(inode_of.at(Attr(file_).data_id()), file_);
  EXPECT_EQ(inode_of.at(Attr(deep_).data_id()), deep_);
}

TEST_F(CheckRunsTest, DropsOnlyWhatNothingNames) {
  const uint64_t live = Attr(file_).data_id();
  const uint64_t next = DecodeCounter(*kv_.Get(AllocatorKey(Sequence::kDataId)).value()).value();
  Edit([&](OpContext& ctx) { (void)ctx.Allocate(Sequence::kDataId).value(); });  // a dead one
  const uint64_t check = runs_.Begin()->check();
  EXPECT_THAT(Drop(check, {live, next, UINT64_MAX}), ElementsAre(next));
  bool queued = false;
  for (const auto& [key, value] : kv_.Rows("U")) {
    const Removal removal = DecodeRemoval(value).value();
    EXPECT_NE(removal.data_id.value(), live);
    queued |= removal.data_id.value() == next && removal.kind == Removal::Kind::kData;
  }
  EXPECT_TRUE(queued);
  EXPECT_THAT(Kinds(Check()), IsEmpty());
}

TEST_F(CheckRunsTest, AnUnusedNumberWithChunksIsPassedOver) {
  EXPECT_THAT(Drop(runs_.Begin()->check(), {500, 400}), UnorderedElementsAre(400, 500));
  const uint64_t file = MakeFile(dir_, "next");
  EXPECT_EQ(Attr(file).data_id(), 501u);
}

TEST_F(CheckRunsTest, ANumberGivenOutSinceTheLookIsNotDropped) {
  const auto dead = FindDead(*meta_.executor().Committed(), {50});
  ASSERT_TRUE(dead.ok());
  ASSERT_THAT(dead->ids, ElementsAre(DataId(50)));
  while (Attr(MakeFile(dir_, "f" + std::to_string(clock_.WallNanos()))).data_id() < 50) Tick();
  std::vector<DataId> queued;
  ASSERT_TRUE(meta_
                  .Run([&](OpContext& ctx) -> Status {
                    ASSIGN_OR_RETURN(queued, QueueOrphans(ctx, *dead));
                    return Status::Ok();
                  })
                  .ok());
  EXPECT_THAT(queued, IsEmpty());
}

}  // namespace
}  // namespace sheaf::meta
