#include "client/file/write_behind.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <future>
#include <random>
#include <thread>

#include "tests/client/file/file_rig.h"
#include "tests/support/eventually.h"

namespace sheaf::client {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

constexpr milliseconds kNever{3'600'000};

// A file whose bytes leave only when they must.
class WriteBehindTest : public FileRig {
 protected:
  WriteBehindTest() : FileRig({.write_behind_delay = kNever, .read_ahead_bytes = 0}) {}
};

TEST_F(WriteBehindTest, BytesStayInMemoryAndAreReadFromThere) {
  const auto file = Open();
  ASSERT_EQ(*file->Write(10, Bytes(100)), 100u);
  EXPECT_EQ(file->Stat()->size, 110u);
  EXPECT_TRUE(storage_.seen_calls().empty());
  EXPECT_EQ(ReadAll(*file, 10, 200), Bytes(100));
  EXPECT_TRUE(storage_.seen_calls().empty()) << "all of it was in memory";
  ASSERT_TRUE(file->Close().ok());
  EXPECT_THAT(Calls(), ElementsAre("open", "close+report"));
  EXPECT_EQ(ops_->behind().memory(), 0u);
}

TEST_F(WriteBehindTest, ACloseWritesBackWhatIsBuffered) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(10, Bytes(100)).ok());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_EQ(storage_.chunk(50, 0).size(), 110u);
  EXPECT_EQ(ReportedLength(), 110u);
}

TEST_F(WriteBehindTest, SmallWritesLeaveAsOneWhenTheirPieceIsFull) {
  const auto file = Open();
  const auto bytes = Bytes(2 * kChunk + 1000);
  for (size_t at = 0; at < bytes.size(); at += 1000) {
    const size_t part = std::min<size_t>(1000, bytes.size() - at);
    ASSERT_TRUE(file->Write(at, std::span(bytes).subspan(at, part)).ok());
  }
  EXPECT_EQ(WritesSeen(), 2u);
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(WritesSeen(), 3u);
  EXPECT_EQ(Stored(50, bytes.size()), bytes);
}

TEST_F(WriteBehindTest, TheLengthIsReportedAfterEveryByteBelowIt) {
  const auto bytes = Bytes(5 * kChunk + 77);
  uint64_t reports = 0;
  services_.meta.on_report = [&](const proto::LengthReport& report) {
    ++reports;
    EXPECT_EQ(report.length(), bytes.size());
    EXPECT_EQ(Stored(50, bytes.size()), bytes);
  };
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, bytes).ok());
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(reports, 1u);
  EXPECT_EQ(ReportedLength(), bytes.size());
}

TEST_F(WriteBehindTest, ReadsSeeBufferedBytesOverThoseOnTheChains) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  ASSERT_TRUE(file->Sync().ok());
  ASSERT_TRUE(file->Write(10, Bytes(5, 200)).ok());
  auto expected = Bytes(100);
  std::iota(expected.begin() + 10, expected.begin() + 15, uint8_t{200});
  EXPECT_EQ(ReadAll(*file, 0, 1000), expected);
}

TEST_F(WriteBehindTest, WhatIsWrittenAgainWaitsForTheAnswer) {
  const auto file = Open();
  storage_.Hold();
  ASSERT_TRUE(file->Write(0, std::vector<uint8_t>(kChunk, 1)).ok());
  ASSERT_EQ(storage_.held_calls(), 1u);
  ASSERT_TRUE(file->Write(0, std::vector<uint8_t>(kChunk, 2)).ok());
  EXPECT_EQ(storage_.held_calls(), 1u);
  EXPECT_EQ(ReadAll(*file, 5, 1)[0], 2);
  storage_.Release();
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(WritesSeen(), 2u);
  EXPECT_EQ(storage_.chunk(50, 0)[0], 2);
}

TEST_F(WriteBehindTest, ATruncateDropsWhatIsBufferedBeyondIt) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  ASSERT_TRUE(file->Truncate(50).ok());
  EXPECT_TRUE(storage_.seen_calls().empty());
  EXPECT_EQ(ReadAll(*file, 0, 100), Bytes(50));
  ASSERT_TRUE(file->Truncate(80).ok());
  auto expected = Bytes(50);
  expected.resize(80);
  EXPECT_EQ(ReadAll(*file, 0, 100), expected);
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(storage_.chunk(50, 0), Bytes(50));
  EXPECT_EQ(ReportedLength(), 80u);
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  ASSERT_TRUE(file->Truncate(0).ok());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_EQ(ReportedLength(), 0u);
  EXPECT_EQ(ops_->behind().memory(), 0u);
}

// The service cuts what lies beyond the length it knows: what landed above it unreported would be
// there again when the file grows.
TEST_F(WriteBehindTest, ATruncateComesAfterTheLengthOfWhatIsUnderWay) {
  const auto file = Open();
  storage_.Hold();
  ASSERT_TRUE(file->Write(0, Bytes(kChunk)).ok());
  ASSERT_EQ(storage_.held_calls(), 1u);
  uint64_t known_at_truncate = 0;
  services_.meta.on_cut = [&, cut = services_.meta.on_cut](uint64_t size) {
    known_at_truncate = services_.meta.file.size();
    cut(size);
  };
  auto truncated = std::async(std::launch::async, [&] { return file->Truncate(10); });
  storage_.Release();
  ASSERT_TRUE(truncated.get().ok());
  EXPECT_EQ(known_at_truncate, kChunk);
  ASSERT_TRUE(file->Truncate(100).ok());
  auto expected = Bytes(10);
  expected.resize(100);
  EXPECT_EQ(ReadAll(*file, 0, 200), expected);
}

TEST_F(WriteBehindTest, AFailedTruncateDropsNothing) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  // The stamp that comes first, then the truncate.
  services_.meta.FailNext(Code::kIo);
  EXPECT_EQ(file->Truncate(0).code(), Code::kIo);
  EXPECT_EQ(ReadAll(*file, 0, 200), Bytes(100));
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(storage_.chunk(50, 0), Bytes(100));
}

TEST_F(WriteBehindTest, AFailureIsToldOnceToEachHandleThatWasOpenForWriting) {
  const auto one = Open();
  const auto other = Open();
  const auto reader = Open(O_RDONLY);
  ASSERT_TRUE(one->Write(0, Bytes(100)).ok());
  storage_.FailNext(Code::kNoSpace);
  EXPECT_EQ(one->Sync().code(), Code::kNoSpace);
  EXPECT_EQ(one->Stat()->size, 0u) << "the bytes are gone, and the length with them";
  EXPECT_EQ(ops_->behind().memory(), 0u);
  const auto later = Open();
  EXPECT_TRUE(one->Sync().ok());
  EXPECT_EQ(other->Write(0, Bytes(5)).status().code(), Code::kNoSpace);
  EXPECT_TRUE(other->Write(0, Bytes(5)).ok());
  EXPECT_TRUE(later->Close().ok());
  EXPECT_TRUE(reader->Close().ok());
  EXPECT_TRUE(other->Close().ok());
  EXPECT_EQ(storage_.chunk(50, 0), Bytes(5));
}

TEST_F(WriteBehindTest, AFailureIsToldAtClose) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  storage_.FailNext(Code::kNoSpace);
  EXPECT_EQ(file->Close().code(), Code::kNoSpace);
  EXPECT_FALSE(inodes_.IsOpen(InodeId(9)));
}

TEST_F(WriteBehindTest, BytesOfALostSessionAreNotWrittenUnderTheNextOne) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  storage_.ReportLost(storage_.incarnation());
  EXPECT_EQ(file->Sync().ToErrno(), EIO);
  EXPECT_EQ(WritesSeen(), 0u);
  EXPECT_EQ(file->Stat()->size, 0u);
  ASSERT_TRUE(file->Write(0, Bytes(7)).ok());
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(storage_.chunk(50, 0), Bytes(7));
  EXPECT_THAT(Calls(), ::testing::Contains("open").Times(2)) << "filed again under the new session";
}

TEST_F(WriteBehindTest, ALostSessionTakesNothingOfTheNextOneWithIt) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  storage_.ReportLost(storage_.incarnation());
  ASSERT_TRUE(file->Write(200, Bytes(7)).ok());
  EXPECT_EQ(file->Sync().ToErrno(), EIO) << "of what was written before";
  EXPECT_EQ(WritesSeen(), 1u);
  EXPECT_EQ(ReadAll(*file, 200, 100), Bytes(7));
  EXPECT_EQ(ReportedLength(), 207u);
}

TEST_F(WriteBehindTest, AFencedWriteUnderWayIsLostWithItsSession) {
  const auto file = Open();
  storage_.Hold();
  ASSERT_TRUE(file->Write(0, Bytes(kChunk)).ok());
  storage_.ReportLost(storage_.incarnation());  // its answer will be "fenced"
  storage_.Release();
  EXPECT_EQ(file->Sync().ToErrno(), EIO);
  EXPECT_EQ(WritesSeen(), 1u);
  EXPECT_TRUE(storage_.chunk(50, 0).empty());
}

TEST_F(WriteBehindTest, ADurableHandleWritesThroughAfterWhatIsBuffered) {
  const auto file = Open();
  const auto durable = Open(O_RDWR | O_DSYNC);
  ASSERT_TRUE(file->Write(0, Bytes(10)).ok());
  ASSERT_TRUE(durable->Write(5, Bytes(10, 100)).ok());
  auto expected = Bytes(5);
  for (const uint8_t byte : Bytes(10, 100)) expected.push_back(byte);
  EXPECT_EQ(storage_.chunk(50, 0), expected);
  EXPECT_EQ(ReportedLength(), 15u);
}

TEST_F(WriteBehindTest, ADurableAppendIsOnTheChainsAndReported) {
  const auto durable = Open(O_RDWR | O_DSYNC);
  ASSERT_EQ(*durable->Append(Bytes(10)), 0u);
  EXPECT_EQ(storage_.chunk(50, 0), Bytes(10));
  EXPECT_EQ(ReportedLength(), 10u);
}

TEST_F(WriteBehindTest, ADirectHandleWritesThrough) {
  const auto direct = Open(O_RDWR | O_DIRECT);
  ASSERT_TRUE(direct->Write(0, Bytes(10)).ok());
  EXPECT_EQ(storage_.chunk(50, 0), Bytes(10));
}

TEST_F(WriteBehindTest, WritesWithoutACopyComeAfterWhatIsBuffered) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(10)).ok());
  const auto bytes = Bytes(4, 100);
  std::promise<Result<size_t>> done;
  file->WriteAsync(2, bytes, [&](Result<size_t> result) { done.set_value(std::move(result)); });
  EXPECT_TRUE(done.get_future().get().ok());
  EXPECT_EQ(storage_.chunk(50, 0), (std::vector<uint8_t>{1, 2, 100, 101, 102, 103, 7, 8, 9, 10}));
}

TEST_F(WriteBehindTest, AppendsGoWhereTheServiceSays) {
  const auto file = Open();
  EXPECT_EQ(*file->Append(Bytes(10)), 0u);
  EXPECT_EQ(*file->Append(Bytes(10)), 10u);
  {
    const std::lock_guard lock(services_.meta.mutex);
    services_.meta.reserved = 100;  // by another client
  }
  EXPECT_EQ(*file->Append(Bytes(10)), 100u);
  EXPECT_EQ(WritesSeen(), 0u);
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(ReportedLength(), 110u);
}

TEST_F(WriteBehindTest, AnAppendWithoutAReservationWritesNothing) {
  const auto file = Open();
  services_.meta.FailNext(Code::kNoSpace);
  EXPECT_EQ(file->Append(Bytes(10)).status().code(), Code::kNoSpace);
  EXPECT_EQ(file->Stat()->size, 0u);
  EXPECT_EQ(*file->Append(Bytes(10)), 0u);
}

TEST_F(WriteBehindTest, FlushIsTheOnlyCallOfAClose) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  ASSERT_TRUE(file->Flush().ok());
  EXPECT_EQ(storage_.chunk(50, 0), Bytes(100));
  ASSERT_TRUE(file->Flush().ok());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_THAT(Calls(), ElementsAre("open", "close+report"));
}

TEST_F(WriteBehindTest, AHandleWrittenAfterItsFlushIsFiledAgain) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  ASSERT_TRUE(file->Flush().ok());
  ASSERT_TRUE(file->Write(100, Bytes(100)).ok());
  ASSERT_TRUE(file->Flush().ok());
  ASSERT_TRUE(file->Write(200, Bytes(100)).ok());
  ASSERT_TRUE(file->Flush().ok());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_THAT(Calls(), ElementsAre("open", "close+report", "open", "fsync", "fsync", "close"));
  EXPECT_EQ(ReportedLength(), 300u);
}

TEST_F(WriteBehindTest, StampedTimesAreNotChangedByALaterClose) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  const auto stamped = ops_->StampTimes(InodeId(9));
  ASSERT_TRUE(stamped.ok() && stamped->has_value());
  EXPECT_EQ((*stamped)->size, 100u);
  EXPECT_EQ(WritesSeen(), 0u) << "no data had to move";
  EXPECT_EQ(ReportedLength(), 0u);
  EXPECT_FALSE(ops_->StampTimes(InodeId(9))->has_value());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_EQ(services_.meta.file.mtime_ns(), (*stamped)->mtime_ns);
  EXPECT_EQ(ReportedLength(), 100u);
}

TEST_F(WriteBehindTest, SyncAllFlushesEveryFile) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  ASSERT_TRUE(ops_->SyncAll().ok());
  EXPECT_EQ(storage_.chunk(50, 0), Bytes(100));
  EXPECT_EQ(ReportedLength(), 100u);
}

TEST_F(WriteBehindTest, SyncAllTellsOfAFailure) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  storage_.FailNext(Code::kNoSpace);
  EXPECT_EQ(ops_->SyncAll().code(), Code::kNoSpace);
}

class ShortDelayTest : public FileRig {
 protected:
  ShortDelayTest() : FileRig({.write_behind_delay = milliseconds(1)}) {}
};

TEST_F(ShortDelayTest, BytesLeaveByThemselves) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  EXPECT_TRUE(sheaf::testing::Eventually([&] { return storage_.chunk(50, 0) == Bytes(100); }));
  EXPECT_TRUE(sheaf::testing::Eventually([&] { return ops_->behind().memory() == 0; }));
}

TEST_F(ShortDelayTest, AFileInOrderIsFetchedAheadAndNeverStale) {
  const auto file = Open();
  const auto bytes = Bytes(16 * kChunk);
  ASSERT_TRUE(file->Write(0, bytes).ok());
  ASSERT_TRUE(file->Sync().ok());
  const size_t before = storage_.seen_calls().size();
  std::vector<uint8_t> read;
  for (size_t at = 0; at < bytes.size(); at += 4096) {
    if (at == 8 * kChunk) {
      ASSERT_TRUE(file->Write(at + 1, Bytes(1, 77)).ok());
    }
    const auto part = ReadAll(*file, at, 4096);
    read.insert(read.end(), part.begin(), part.end());
  }
  auto expected = bytes;
  expected[8 * kChunk + 1] = 77;
  EXPECT_EQ(read, expected);
  EXPECT_LT(storage_.seen_calls().size() - before, 200u) << "of 256 reads";
}

TEST(MemoryBudgetTest, BoundsWhatIsHeldAndLetsOneTooLargeGoAlone) {
  MemoryBudget budget(100);
  EXPECT_TRUE(budget.TryReserve(60));
  EXPECT_FALSE(budget.TryReserve(50));
  EXPECT_FALSE(budget.Reserve(50, milliseconds(1)));
  auto waiting =
      std::async(std::launch::async, [&] { return budget.Reserve(500, milliseconds(60'000)); });
  budget.Release(60);
  EXPECT_TRUE(waiting.get());
  EXPECT_EQ(budget.used(), 500u);
}

uint64_t Seed() {
  const char* given = std::getenv("SHEAF_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
}

// Little memory, short delays, answers in any order: everything happens.
class WriteBehindModelTest : public FileRig {
 protected:
  static constexpr size_t kMemory = 4 * kChunk;
  static constexpr size_t kMaxSize = 12 * kChunk;

  WriteBehindModelTest()
      : FileRig({.write_behind_bytes = kMemory, .write_behind_delay = milliseconds(2)}),
        seed_(Seed()),
        random_(seed_) {
    storage_.Hold();
    pump_ = std::thread([this] {
      std::mt19937_64 order(seed_ + 1);
      while (storage_.ReleaseOne(order(), stopped_)) {
      }
    });
  }
  ~WriteBehindModelTest() override {
    // What still comes is answered until nothing does.
    ops_.reset();
    chunks_.reset();
    stopped_ = true;
    storage_.WakeReleaser();
    pump_.join();
  }

  uint64_t Any(uint64_t below) { return random_() % below; }
  std::vector<uint8_t> AnyBytes(size_t size) {
    std::vector<uint8_t> bytes(size);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(1 + Any(255));
    return bytes;
  }
  size_t AnySize() { return 1 + Any(Any(4) == 0 ? 2 * kChunk : 3000); }

  const uint64_t seed_;
  std::mt19937_64 random_;
  std::atomic<bool> stopped_ = false;
  std::thread pump_;
};

TEST_F(WriteBehindModelTest, AFileIsTheBytesThatWereWrittenWhateverStorageIsLike) {
  SCOPED_TRACE("SHEAF_SEED=" + std::to_string(seed_));
  std::vector<uint8_t> model;
  std::atomic<bool> checks = false;
  services_.meta.on_report = [&](const proto::LengthReport& report) {
    if (!checks) return;
    EXPECT_EQ(report.length(), model.size());
    EXPECT_EQ(Stored(services_.meta.file.data_id(), model.size()), model);
  };
  auto file = Open();
  const auto put = [&](uint64_t offset, const std::vector<uint8_t>& bytes) {
    if (model.size() < offset + bytes.size()) model.resize(offset + bytes.size());
    std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<ptrdiff_t>(offset));
  };
  for (int step = 0; step < 1500 && !HasFailure(); ++step) {
    if (Any(20) == 0) storage_.FailNext(Any(2) == 0 ? Code::kBusy : Code::kUnavailable);
    const uint64_t offset = Any(kMaxSize);
    switch (Any(12)) {
      case 0: {
        const uint64_t size = Any(kMaxSize);
        ASSERT_TRUE(file->Truncate(size).ok());
        model.resize(size);
        break;
      }
      case 1:
      case 2: {
        checks = true;
        ASSERT_TRUE((Any(2) == 0 ? file->Sync() : file->Flush()).ok());
        ASSERT_EQ(Stored(services_.meta.file.data_id(), model.size()), model);
        checks = false;
        break;
      }
      case 3: {
        checks = true;
        ASSERT_TRUE(file->Close().ok());
        checks = false;
        const bool empties = Any(4) == 0;
        file = Open(O_RDWR | (empties ? O_TRUNC : 0));
        if (empties) model.clear();
        break;
      }
      case 4: {
        const auto bytes = AnyBytes(AnySize());
        ASSERT_EQ(*file->Append(bytes), model.size());
        put(model.size(), bytes);
        break;
      }
      case 5: {
        ASSERT_TRUE(ops_->StampTimes(InodeId(9)).ok());
        ASSERT_EQ(file->Stat()->size, model.size());
        break;
      }
      case 6:
      case 7: {
        const size_t size = AnySize();
        const auto read = ReadAll(*file, offset, size);
        const uint64_t end = std::min<uint64_t>(offset + size, model.size());
        ASSERT_EQ(read.size(), end > offset ? end - offset : 0);
        ASSERT_TRUE(std::equal(read.begin(), read.end(),
                               model.begin() + static_cast<ptrdiff_t>(std::min(offset, end))));
        break;
      }
      default: {
        const auto bytes = AnyBytes(AnySize());
        ASSERT_TRUE(file->Write(offset, bytes).ok());
        put(offset, bytes);
      }
    }
    ASSERT_LE(ops_->behind().memory(), kMemory);
  }
  ASSERT_TRUE(file->Close().ok());
  EXPECT_EQ(ops_->behind().memory(), 0u);
}

TEST_F(WriteBehindModelTest, AfterAFailureEachByteIsOneThatWasWrittenAndTheFailureIsTold) {
  SCOPED_TRACE("SHEAF_SEED=" + std::to_string(seed_));
  std::vector<std::vector<uint8_t>> written(kMaxSize + 2 * kChunk, {0});  // values of each byte
  const auto file = Open();
  int told = 0;
  for (int round = 0; round < 60 && !HasFailure(); ++round) {
    bool failed = Any(2) == 0;
    if (failed) storage_.FailNext(Code::kNoSpace);
    for (int i = 0; i < 5; ++i) {
      const uint64_t offset = Any(kMaxSize);
      const auto bytes = AnyBytes(AnySize());
      const auto done = file->Write(offset, bytes);
      if (!done.ok()) {
        ASSERT_EQ(done.status().code(), Code::kNoSpace);
        ++told;
        continue;
      }
      for (size_t at = 0; at < bytes.size(); ++at) written[offset + at].push_back(bytes[at]);
    }
    const Status synced = file->Sync();
    if (!synced.ok()) ++told;
    if (failed) {
      ASSERT_GT(told, 0) << "a failure was not told";
    } else {
      ASSERT_EQ(told, 0);
    }
    told = 0;
    const auto bytes = ReadAll(*file, 0, written.size());
    ASSERT_EQ(ReportedLength(), bytes.size());
    for (size_t at = 0; at < bytes.size(); ++at) {
      auto& values = written[at];
      ASSERT_NE(std::find(values.begin(), values.end(), bytes[at]), values.end()) << "byte " << at;
      values = {bytes[at]};
    }
    for (size_t at = bytes.size(); at < written.size(); ++at) written[at] = {0};
    ASSERT_EQ(ops_->behind().memory(), 0u);
  }
}

}  // namespace
}  // namespace sheaf::client
