#include "storage/replica/resync.h"

#include <gtest/gtest.h>

#include <vector>

namespace sheaf::storage {
namespace {

// Answers lists from chunks that this side has and the other does not, but those that were copied.
class FakeHost final : public ResyncHost {
 public:
  void ListBoth(const ListStep& step) override { list_ = step; }
  void CopyChunks(const CopyStep& step) override { copy_ = step; }
  void RemoveChunks(const RemoveStep& step) override { remove_ = step; }
  void SendStreams(uint64_t step) override { streams_ = step; }
  bool IsQuiet(const ChunkRange&) override { return true; }
  void WindowOpens() override {}
  void WindowMoved() override {}

  ListStep list_;
  CopyStep copy_;
  RemoveStep remove_;
  uint64_t streams_ = 0;
};

class ResyncTest : public ::testing::Test {
 protected:
  // `count` chunks of `length` more.
  void Add(uint32_t count, uint32_t length, bool there = false) {
    for (uint32_t i = 0; i < count; ++i) {
      ChunkFacts facts;
      facts.chunk = {DataId(++last_), 0};
      facts.length = length;
      (there ? there_ : here_).push_back(facts);
    }
  }
  static ListPage Page(const std::vector<ChunkFacts>& chunks, const ListStep& step) {
    ListPage page;
    for (const ChunkFacts& facts : chunks) {
      if (!step.range.Contains(facts.chunk)) continue;
      if (page.chunks.size() == step.limit) return page;
      page.chunks.push_back(facts);
    }
    page.end = true;
    return page;
  }
  void List() {
    resync_.OnLists(host_.list_.step,
                    ListPair{Page(here_, host_.list_), Page(there_, host_.list_)});
  }
  // Scans, compares again, and copies what is to be: how many chunks.
  size_t CopyAWindow() {
    host_.copy_ = {};
    List();
    List();
    for (const ChunkCopy& copy : host_.copy_.chunks) there_.push_back(copy.chunk);
    const size_t copied = host_.copy_.chunks.size();
    if (copied > 0) resync_.OnStep(host_.copy_.step, Status::Ok());
    return copied;
  }

  FakeHost host_;
  Resync resync_{host_};
  std::vector<ChunkFacts> here_;
  std::vector<ChunkFacts> there_;
  uint64_t last_ = 0;
};

TEST_F(ResyncTest, SmallChunksAreCopiedTogether) {
  Add(100, 16 << 10);
  resync_.Begin();
  EXPECT_EQ(CopyAWindow(), Resync::kWindowChunks);
  EXPECT_EQ(resync_.ReachOf(here_[0].chunk), Resync::Reach::kMirror);
  EXPECT_EQ(resync_.ReachOf(here_[99].chunk), Resync::Reach::kSkip);
  EXPECT_EQ(CopyAWindow(), 100 - Resync::kWindowChunks);
  EXPECT_EQ(resync_.progress().copied, 100u);
  EXPECT_EQ(resync_.ReachOf({DataId(UINT64_MAX), 0}), Resync::Reach::kMirror) << "all is passed";
  resync_.OnStep(host_.streams_, Status::Ok());
  EXPECT_TRUE(resync_.IsDone());
}

TEST_F(ResyncTest, NoMoreThanAWindowOfBytesButOneChunkAtLeast) {
  Add(3, Resync::kWindowBytes);
  Add(8, Resync::kWindowBytes / 4);
  resync_.Begin();
  for (const size_t copied : {1u, 1u, 1u, 4u, 4u}) EXPECT_EQ(CopyAWindow(), copied);
}

// Before the window was open they were not held.
TEST_F(ResyncTest, WhatComesMeanwhileDoesNotOutgrowTheWindow) {
  Add(10, 100);
  resync_.Begin();
  List();
  Add(500, 100);
  List();
  EXPECT_EQ(host_.copy_.chunks.size(), Resync::kWindowChunks);
  EXPECT_EQ(resync_.ReachOf(here_[Resync::kWindowChunks - 1].chunk), Resync::Reach::kHold);
  EXPECT_EQ(resync_.ReachOf(here_[Resync::kWindowChunks].chunk), Resync::Reach::kSkip);
}

TEST_F(ResyncTest, ItIsToldWhatTheOtherSideHas) {
  Add(2, 100);
  there_.push_back(here_[1]);
  there_[0].checksum = 7;
  resync_.Begin();
  List();
  List();
  ASSERT_EQ(host_.copy_.chunks.size(), 2u);
  EXPECT_FALSE(host_.copy_.chunks[0].is_there);
  EXPECT_TRUE(host_.copy_.chunks[1].is_there);
}

TEST_F(ResyncTest, AWindowThatFailsIsTakenUpFromItsBeginning) {
  Add(10, 100);
  resync_.Begin();
  List();
  List();
  EXPECT_EQ(host_.copy_.chunks.size(), 10u);
  resync_.OnStep(host_.copy_.step, Status(Code::kUnavailable, "away"));
  EXPECT_EQ(resync_.ReachOf(here_[0].chunk), Resync::Reach::kSkip) << "nothing waits meanwhile";
  resync_.Tick();
  EXPECT_EQ(CopyAWindow(), 10u);
}

}  // namespace
}  // namespace sheaf::storage
