#include "meta/cluster/fenced_ranges.h"

#include <gtest/gtest.h>

#include "meta/schema/keys.h"
#include "meta/schema/values.h"
#include "tests/support/memory_kv.h"

namespace sheaf::meta {
namespace {

using Pairs = std::vector<std::pair<uint64_t, uint64_t>>;

Pairs Of(const FencedRanges& ranges) {
  FencedRanges::Message message;
  ranges.CopyTo(&message);
  EXPECT_EQ(FencedRanges(message), ranges);
  Pairs pairs;
  for (const auto& range : message) pairs.emplace_back(range.first(), range.last());
  return pairs;
}

FencedRanges With(std::initializer_list<uint64_t> live, uint64_t next) {
  std::vector<Incarnation> sessions;
  for (uint64_t each : live) sessions.emplace_back(each);
  return FencedRanges(sessions, next);
}

TEST(FencedRangesTest, HoldAllGivenOutButTheLive) {
  EXPECT_EQ(Of(With({}, 1)), Pairs());
  EXPECT_EQ(Of(With({}, 5)), (Pairs{{1, 4}}));
  EXPECT_EQ(Of(With({1, 2, 3}, 4)), Pairs());
  EXPECT_EQ(Of(With({3}, 6)), (Pairs{{1, 2}, {4, 5}}));
  EXPECT_EQ(Of(With({1, 5}, 6)), (Pairs{{2, 4}}));
}

TEST(FencedRangesTest, ContainWhatTheyHold) {
  const FencedRanges ranges = With({3, 4, 8}, 10);
  for (uint64_t fenced : {1, 2, 5, 6, 7, 9}) EXPECT_TRUE(ranges.Contains(Incarnation(fenced)));
  for (uint64_t not_fenced : {0, 3, 4, 8, 10, 11}) {
    EXPECT_FALSE(ranges.Contains(Incarnation(not_fenced))) << not_fenced;
  }
  EXPECT_FALSE(FencedRanges().Contains(Incarnation(1)));
}

TEST(FencedRangesTest, AreReadFromTheSessionRows) {
  MemoryKv kv;
  EXPECT_EQ(*FencedRanges::Load(kv), FencedRanges()) << "nobody has come yet";
  const std::string next_key = AllocatorKey(Sequence::kIncarnation);
  const std::string next = EncodeCounter(7);
  const std::string live = EncodeSession({.description = "live"});
  const std::string over = EncodeSession({.fenced = true});
  const std::string live_key = SessionKey(Incarnation(3));
  const std::string over_key = SessionKey(Incarnation(5));
  ASSERT_TRUE(
      kv.Write(std::vector<KvChange>{{next_key, next}, {live_key, live}, {over_key, over}}, true)
          .ok());
  EXPECT_EQ(Of(*FencedRanges::Load(kv)), (Pairs{{1, 2}, {4, 6}}));
}

}  // namespace
}  // namespace sheaf::meta
