#include "storage/disk/page_allocator.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>
#include <vector>

namespace sheaf::storage {
namespace {

TEST(PageAllocatorTest, GivesWhatWasAskedForAndNoMore) {
  PageAllocator pages(1024);
  ASSERT_TRUE(pages.Allocate(257).has_value());
  EXPECT_EQ(pages.free_pages(), 1024u - 257u);
}

TEST(PageAllocatorTest, RefusesWhatDoesNotFit) {
  PageAllocator pages(100);
  EXPECT_FALSE(pages.CanAllocate(101));
  EXPECT_FALSE(pages.Allocate(101).has_value());
  EXPECT_EQ(pages.free_pages(), 100u);
}

TEST(PageAllocatorTest, JoinsNeighboursSoThatTheLargestRunComesBack) {
  PageAllocator pages(256);
  std::vector<uint32_t> runs;
  while (auto run = pages.Allocate(1)) runs.push_back(*run);
  EXPECT_EQ(runs.size(), 256u);
  for (uint32_t run : runs) pages.Free(run, 1);
  EXPECT_TRUE(pages.CanAllocate(256));
}

TEST(PageAllocatorTest, WorksOnAnyTotal) {
  for (uint32_t total : {1u, 3u, 7u, 1000u, 4097u}) {
    PageAllocator pages(total);
    uint32_t got = 0;
    while (pages.Allocate(1)) ++got;
    EXPECT_EQ(got, total);
  }
}

TEST(PageAllocatorTest, RunsNeverOverlapOverRandomUse) {
  const char* given = std::getenv("SHEAF_SEED");
  const uint32_t seed = given ? std::strtoul(given, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE("SHEAF_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr uint32_t kPages = 2000;
  PageAllocator pages(kPages);
  std::vector<bool> taken(kPages);
  std::map<uint32_t, uint32_t> runs;
  uint32_t used = 0;
  for (int step = 0; step < 20000; ++step) {
    if (random() % 2 == 0) {
      const uint32_t count = 1 + random() % 64;
      const bool possible = pages.CanAllocate(count);
      auto run = pages.Allocate(count);
      ASSERT_EQ(run.has_value(), possible);
      if (!run) continue;
      for (uint32_t i = 0; i < count; ++i) {
        ASSERT_FALSE(taken.at(*run + i));
        taken[*run + i] = true;
      }
      runs[*run] = count;
      used += count;
    } else if (!runs.empty()) {
      auto run = runs.lower_bound(random() % kPages);
      if (run == runs.end()) run = runs.begin();
      for (uint32_t i = 0; i < run->second; ++i) taken[run->first + i] = false;
      pages.Free(run->first, run->second);
      used -= run->second;
      runs.erase(run);
    }
    ASSERT_EQ(pages.free_pages(), kPages - used);
  }
}

}  // namespace
}  // namespace sheaf::storage
