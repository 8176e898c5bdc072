#include "storage/replica/staging.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "storage/replica/sent_changes.h"

namespace sheaf::storage {
namespace {

constexpr uint32_t kPart = 4096;
constexpr Clock::Instant kNow = std::chrono::seconds(100);

struct TestBuffer : PooledBuffer {
  TestBuffer(size_t size, int* counted) : bytes(size), live(counted) { ++*live; }
  ~TestBuffer() override { --*live; }
  std::span<uint8_t> span() override { return bytes; }
  std::vector<uint8_t> bytes;
  int* const live;
};

struct TestOnward : StageShelf::Onward {
  explicit TestOnward(std::vector<size_t>* told_of) : told(told_of) {}
  void Landed(size_t bytes) override { told->push_back(bytes); }
  std::vector<size_t>* const told;
};

StagePart PartOf(uint64_t number, uint32_t offset, uint32_t length, uint32_t total) {
  return {.key = {ChainId(7), ChainVersion(3), TargetId(1), number},
          .offset = offset,
          .length = length,
          .total = total};
}

class StageShelfTest : public ::testing::Test {
 protected:
  Status Expect(const StagePart& part) {
    const auto place =
        shelf_.Expect(part, kNow, [this](uint32_t total) -> Result<StageShelf::Room> {
          if (full_) return Status(Code::kBusy, "full");
          return StageShelf::Room{std::make_shared<TestBuffer>(total, &live_),
                                  std::make_shared<TestOnward>(&told_)};
        });
    if (!place.ok()) return place.status();
    EXPECT_EQ(place->into.data(), place->buffer->span().data() + part.offset);
    EXPECT_EQ(place->into.size(), part.length);
    std::fill(place->into.begin(), place->into.end(),
              static_cast<uint8_t>(part.offset / kPart + 1));
    return Status::Ok();
  }
  Status Put(const StagePart& part) {
    RETURN_IF_ERROR(Expect(part));
    return shelf_.Landed(part);
  }
  bool Take(const StagePart& part) { return shelf_.Take(part.key, part.total).has_value(); }
  void ExpectEmpty() {
    EXPECT_EQ(shelf_.size(), 0u);
    EXPECT_EQ(shelf_.bytes(), 0u);
    EXPECT_EQ(live_, 0);
  }

  StageShelf shelf_{{.stages = 3, .bytes = 10 * kPart, .largest = 6 * kPart}};
  bool full_ = false;
  int live_ = 0;  // buffers
  std::vector<size_t> told_;
};

TEST_F(StageShelfTest, AllPartsMakeAPayload) {
  const StagePart last = PartOf(1, 2 * kPart, 77, 2 * kPart + 77);
  ASSERT_TRUE(Put(PartOf(1, 0, kPart, last.total)).ok());
  ASSERT_TRUE(Put(PartOf(1, kPart, kPart, last.total)).ok());
  ASSERT_TRUE(Put(last).ok());
  EXPECT_EQ(told_, (std::vector<size_t>{kPart, 2 * kPart, last.total}));
  {
    const auto room = shelf_.Take(last.key, last.total);
    ASSERT_TRUE(room.has_value());
    EXPECT_EQ(room->buffer->span()[kPart], 2);
    EXPECT_EQ(room->buffer->span()[last.total - 1], 3);
  }
  EXPECT_FALSE(Take(last));  // once
  ExpectEmpty();
}

TEST_F(StageShelfTest, StagesGrowBesideOneAnother) {
  for (uint32_t offset : {0u, kPart}) {
    for (uint64_t number : {1, 2}) ASSERT_TRUE(Put(PartOf(number, offset, kPart, 2 * kPart)).ok());
  }
  EXPECT_TRUE(Take(PartOf(2, 0, 0, 2 * kPart)));
  EXPECT_TRUE(Take(PartOf(1, 0, 0, 2 * kPart)));
  ExpectEmpty();
}

TEST_F(StageShelfTest, AStageIsTakenOnlyWholeAndByItsName) {
  const auto begin = [&] { ASSERT_TRUE(Put(PartOf(1, 0, kPart, 2 * kPart)).ok()); };
  begin();
  EXPECT_FALSE(Take(PartOf(1, 0, 0, 2 * kPart)));  // incomplete: it is over
  ExpectEmpty();
  begin();
  EXPECT_FALSE(Take(PartOf(1, 0, 0, kPart)));  // as much as there is, but not all
  ExpectEmpty();

  begin();
  ASSERT_TRUE(Put(PartOf(1, kPart, kPart, 2 * kPart)).ok());
  const StageKey key = PartOf(1, 0, 0, 0).key;
  for (int field = 0; field < 4; ++field) {
    StageKey other = key;
    if (field == 0) other.chain = ChainId(8);
    if (field == 1) other.version = ChainVersion(4);
    if (field == 2) other.from = TargetId(2);
    if (field == 3) other.number = 2;
    EXPECT_FALSE(shelf_.Take(other, 2 * kPart).has_value()) << field;
  }
  EXPECT_TRUE(shelf_.Take(key, 2 * kPart).has_value());
  ExpectEmpty();
}

TEST_F(StageShelfTest, FieldsThatCannotBeAreInvalid) {
  EXPECT_EQ(Put(PartOf(0, 0, kPart, kPart)).code(), Code::kInvalid);
  EXPECT_EQ(Put(PartOf(1, 0, kPart, 0)).code(), Code::kInvalid);
  EXPECT_EQ(Put(PartOf(1, 0, kPart, 6 * kPart + 1)).code(), Code::kInvalid);
  EXPECT_EQ(Put(PartOf(1, 0, 0, kPart)).code(), Code::kInvalid);
  EXPECT_EQ(Put(PartOf(1, 1, kPart, kPart)).code(), Code::kInvalid);
  EXPECT_EQ(Put(PartOf(1, UINT32_MAX, UINT32_MAX, kPart)).code(), Code::kInvalid);
  ExpectEmpty();
}

TEST_F(StageShelfTest, APartThatIsNotTheNextEndsItsStage) {
  for (const StagePart& wrong :
       {PartOf(1, 0, kPart, 4 * kPart), PartOf(1, kPart - 1, kPart, 4 * kPart),
        PartOf(1, 2 * kPart, kPart, 4 * kPart), PartOf(1, kPart, kPart, 3 * kPart)}) {
    ASSERT_TRUE(Put(PartOf(1, 0, kPart, 4 * kPart)).ok());
    EXPECT_EQ(Put(wrong).code(), Code::kCancelled);
    EXPECT_EQ(Put(PartOf(1, kPart, kPart, 4 * kPart)).code(), Code::kCancelled);
    ExpectEmpty();
  }
  ASSERT_TRUE(Put(PartOf(1, 0, kPart, 4 * kPart)).ok());
  EXPECT_EQ(Put(PartOf(1, 3 * kPart, 2 * kPart, 4 * kPart)).code(), Code::kInvalid);
  ExpectEmpty();
}

TEST_F(StageShelfTest, ThereAreNoMoreThanTheLimits) {
  ASSERT_TRUE(Put(PartOf(1, 0, kPart, 5 * kPart)).ok());
  EXPECT_EQ(Put(PartOf(2, 0, kPart, 6 * kPart)).code(), Code::kBusy);
  ASSERT_TRUE(Put(PartOf(3, 0, kPart, 2 * kPart)).ok());
  ASSERT_TRUE(Put(PartOf(4, 0, kPart, 2 * kPart)).ok());
  EXPECT_EQ(Put(PartOf(5, 0, kPart, kPart)).code(), Code::kBusy);
  EXPECT_EQ(Put(PartOf(5, kPart, kPart, 2 * kPart)).code(), Code::kCancelled);
  shelf_.Drop(PartOf(1, 0, 0, 0).key);
  ASSERT_TRUE(Put(PartOf(5, 0, kPart, kPart)).ok());
  full_ = true;
  shelf_.Drop(PartOf(5, 0, 0, 0).key);
  EXPECT_EQ(Put(PartOf(6, 0, kPart, kPart)).code(), Code::kBusy);
  shelf_.Clear();
  ExpectEmpty();
}

TEST_F(StageShelfTest, AStageEndsInTime) {
  ASSERT_TRUE(Put(PartOf(1, 0, kPart, 2 * kPart)).ok());
  shelf_.Expire(kNow + std::chrono::seconds(4));
  EXPECT_EQ(shelf_.size(), 1u);
  ASSERT_TRUE(Put(PartOf(1, kPart, kPart, 2 * kPart)).ok());
  shelf_.Expire(kNow + std::chrono::seconds(5));  // of its first part, not its last
  ExpectEmpty();
}

TEST_F(StageShelfTest, APartThatLandsAfterTheEndOfItsStageCountsForNothing) {
  ASSERT_TRUE(Expect(PartOf(1, 0, kPart, 2 * kPart)).ok());
  shelf_.Clear();
  EXPECT_EQ(shelf_.Landed(PartOf(1, 0, kPart, 2 * kPart)).code(), Code::kCancelled);
  ASSERT_TRUE(Put(PartOf(1, 0, kPart, 2 * kPart)).ok());
  EXPECT_EQ(shelf_.Landed(PartOf(1, 0, kPart, 2 * kPart)).code(), Code::kCancelled);  // twice
  EXPECT_FALSE(Take(PartOf(1, 0, 0, 2 * kPart)));
  ExpectEmpty();
}

TEST(StageCutterTest, CutsWhatHasLandedIntoParts) {
  StageCutter cutter(2 * kPart + 100, kPart);
  EXPECT_EQ(cutter.WantsAt(), kPart);
  EXPECT_FALSE(cutter.Next(kPart - 1));
  const auto first = cutter.Next(2 * kPart);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->offset, 0u);
  EXPECT_EQ(first->length, kPart);
  const auto second = cutter.Next(2 * kPart);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->offset, kPart);
  EXPECT_EQ(cutter.WantsAt(), 2 * kPart + 100);
  EXPECT_FALSE(cutter.Next(2 * kPart + 99));
  EXPECT_FALSE(cutter.AllCut());
  EXPECT_EQ(cutter.Next(2 * kPart + 100)->length, 100u);
  EXPECT_TRUE(cutter.AllCut());
  EXPECT_FALSE(cutter.Next(2 * kPart + 100));
}

TEST(SentChangesTest, OnlyTheLastAttemptCounts) {
  SentChanges sent;
  ReplicateMessage message;
  const auto send = [&](uint32_t version, uint64_t sequence) {
    message.version = ChainVersion(version);
    message.sequence = sequence;
    return sent.Note(TargetId(2), message);
  };
  const uint64_t old = send(1, 9);
  std::vector<uint64_t> attempts;
  for (uint64_t sequence = 3; sequence <= 6; ++sequence) attempts.push_back(send(2, sequence));
  sent.Forget(5);
  std::vector<uint64_t> again;
  for (const auto& each : sent.From(4)) again.push_back(each.message.sequence);
  EXPECT_EQ(again, (std::vector<uint64_t>{4, 6}));  // 9 is of another version
  EXPECT_TRUE(sent.IsLatest(4, attempts[1]));
  const uint64_t latest = send(2, 4);
  EXPECT_FALSE(sent.IsLatest(4, attempts[1]));
  EXPECT_TRUE(sent.IsLatest(4, latest));
  EXPECT_FALSE(sent.IsLatest(5, attempts[2]));
  EXPECT_TRUE(sent.IsLatest(9, old));
  EXPECT_EQ(sent.size(), 4u);
}

}  // namespace
}  // namespace sheaf::storage
