#include "storage/scrub/scrubber.h"

#include <gmock/gmock.h>

#include <fstream>

#include "tests/storage/engine/engine_rig.h"
#include "tests/support/eventually.h"
#include "tests/support/temp_dir.h"

namespace sheaf::storage {
namespace {

using sheaf::testing::Eventually;
using sheaf::testing::TempDir;
using ::testing::HasSubstr;

// A scrubber over an engine on a fake disk, as fast as it goes. Passes follow on demand only.
class ScrubberTest : public ::testing::Test {
 protected:
  ScrubberTest() {
    EXPECT_TRUE(rig_.Open().ok());
    for (uint32_t chain : {1, 2}) {
      for (uint32_t index = 0; index < 3; ++index) {
        EXPECT_TRUE(rig_.Write(Key(chain, 7, index), 0, RandomBytes(600'000, index)).ok());
      }
    }
  }
  void MakeScrubber(uint64_t bytes_per_s = uint64_t{1} << 40) {
    scrubber_.reset();
    scrubber_ = std::make_unique<Scrubber>(
        rig_.engine(), rig_.io(), Clock::System(),
        Scrubber::Options{.target = "test",
                          .position_file = dir_ / "SCRUB",
                          .bytes_per_s = bytes_per_s,
                          .on_bad = [this](const Scrubber::BadChunk&) { ++told_; }});
  }
  // Waits until one more pass has ended.
  void RunPass() {
    const uint64_t before = Now().passes;
    ASSERT_TRUE(scrubber_->Start());
    ASSERT_TRUE(Eventually([&] { return Now().passes > before && !Now().running; }));
  }
  Scrubber::Progress Now() { return scrubber_->GetProgress(/*with_bad=*/true); }

  TempDir dir_;
  EngineRig rig_{EngineRig::Options()};
  std::atomic<int> told_{0};
  std::unique_ptr<Scrubber> scrubber_;  // first to go
};

TEST_F(ScrubberTest, ReadsEveryChunkOfEveryChain) {
  MakeScrubber();
  ASSERT_TRUE(Eventually([&] { return Now().passes == 1; }));
  EXPECT_EQ(Now().chunks, 6u);
  EXPECT_EQ(Now().bytes, 6u * 600'000);
  EXPECT_EQ(Now().bad_count, 0u);
}

TEST_F(ScrubberTest, NamesWhatIsBadAndGoesOn) {
  rig_.disk().RotBits(0, 16384 + 100);
  MakeScrubber();
  ASSERT_TRUE(Eventually([&] { return Now().passes == 1; }));
  const auto progress = Now();
  EXPECT_EQ(progress.chunks, 6u);
  ASSERT_EQ(progress.bad.size(), 1u);
  EXPECT_EQ(progress.bad[0].status.code(), Code::kCorrupt);
  EXPECT_THAT(progress.bad[0].status.message(), HasSubstr("slab 0, offset 16384"));
  EXPECT_EQ(told_, 1);
  EXPECT_TRUE(rig_.engine().Health().ok());  // rot is not the disk's end
  RunPass();
  EXPECT_EQ(Now().bad_count, 1u);
}

TEST_F(ScrubberTest, WhatIsRepairedIsBadNoMore) {
  rig_.disk().RotBits(0, 100);
  MakeScrubber();
  ASSERT_TRUE(Eventually([&] { return Now().passes == 1; }));
  ASSERT_EQ(Now().bad.size(), 1u);
  scrubber_->Repaired(Now().bad[0].key);
  scrubber_->Repaired(Key(9, 9, 9));  // that a reader came upon
  EXPECT_EQ(Now().bad_count, 0u);
  EXPECT_EQ(Now().repaired, 2u);
}

TEST_F(ScrubberTest, ForgetsWhatWasWrittenAnewOrRemoved) {
  rig_.disk().RotBits(0, 100);
  MakeScrubber();
  ASSERT_TRUE(Eventually([&] { return Now().passes == 1; }));
  ASSERT_EQ(Now().bad.size(), 1u);
  const Engine::ChunkKey bad = Now().bad[0].key;
  ASSERT_TRUE(rig_.Write(bad, 0, RandomBytes(600'000, 9)).ok());
  RunPass();
  EXPECT_EQ(Now().bad_count, 0u);
}

TEST_F(ScrubberTest, ForgetsABadChunkThatIsGone) {
  rig_.disk().RotBits(0, 100);
  MakeScrubber();
  ASSERT_TRUE(Eventually([&] { return Now().passes == 1; }));
  ASSERT_EQ(Now().bad_count, 1u);
  ASSERT_TRUE(rig_.Remove(1, 7).ok());
  ASSERT_TRUE(rig_.Remove(2, 7).ok());
  RunPass();
  EXPECT_EQ(Now().bad_count, 0u);
  EXPECT_EQ(Now().chunks, 0u);
}

TEST_F(ScrubberTest, GoesOnWhereItWas) {
  {
    std::ofstream position(dir_ / "SCRUB");
    position << "2 7 0\n";
  }
  MakeScrubber();
  ASSERT_TRUE(Eventually([&] { return Now().passes == 1; }));
  EXPECT_EQ(Now().chunks, 2u);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "SCRUB"));  // the next pass is a whole one
}

TEST_F(ScrubberTest, KeepsItsPositionWhenItIsStopped) {
  MakeScrubber(300'000);  // two seconds a chunk: it is far from the end when it is stopped
  ASSERT_TRUE(Eventually([&] { return Now().chunks > 0; }));
  scrubber_.reset();
  std::ifstream position(dir_ / "SCRUB");
  std::string line;
  EXPECT_TRUE(std::getline(position, line));
  EXPECT_THAT(line, HasSubstr(" 7 "));
}

TEST_F(ScrubberTest, WaitsWhileNoBufferIsFree) {
  EngineRig small(EngineRig::Options{.buffer_bytes = 1 << 20});
  ASSERT_TRUE(small.Open().ok());
  ASSERT_TRUE(small.Write(Key(1, 7, 0), 0, RandomBytes(600'000, 1)).ok());
  BufferRef hog;
  small.io().RunAndWait([&] { hog = small.io().Allocate(1 << 20); });
  ASSERT_NE(hog, nullptr);
  Scrubber scrubber(small.engine(), small.io(), Clock::System(),
                    {.target = "small", .bytes_per_s = uint64_t{1} << 40});
  ASSERT_TRUE(Eventually([&] { return scrubber.GetProgress(false).running; }));
  EXPECT_EQ(scrubber.GetProgress(false).passes, 0u);
  small.io().RunAndWait([&] { hog.reset(); });
  EXPECT_TRUE(Eventually([&] { return scrubber.GetProgress(false).passes == 1; }));
  EXPECT_EQ(scrubber.GetProgress(true).bad_count, 0u);
}

TEST_F(ScrubberTest, OffMeansOff) {
  MakeScrubber(0);
  EXPECT_FALSE(scrubber_->Start());
  EXPECT_FALSE(Now().running);
}

}  // namespace
}  // namespace sheaf::storage
