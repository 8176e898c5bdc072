#include "client/file/write_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

namespace sheaf::client {
namespace {

constexpr uint32_t kPiece = 64;

using Bytes = WriteBuffer::Bytes;

Bytes Text(std::string_view text) { return {text.begin(), text.end()}; }

std::string ReadText(const WriteBuffer& buffer, uint64_t offset, size_t size) {
  std::string text(size, '.');
  (void)buffer.Read(offset, {reinterpret_cast<uint8_t*>(text.data()), size});
  return text;
}

std::vector<std::pair<uint64_t, std::string>> Texts(
    const std::vector<WriteBuffer::Outgoing>& outgoing) {
  std::vector<std::pair<uint64_t, std::string>> texts;
  for (const auto& range : outgoing) {
    texts.emplace_back(range.offset, std::string(range.bytes->begin(), range.bytes->end()));
  }
  return texts;
}

TEST(WriteBufferTest, LaterWritesCoverEarlierOnes) {
  WriteBuffer buffer(kPiece);
  buffer.Write(4, Text("aaaa"));
  buffer.Write(12, Text("bbbb"));
  buffer.Write(6, Text("cccccccc"));
  EXPECT_EQ(ReadText(buffer, 0, 20), "....aaccccccccbb....");
  EXPECT_EQ(buffer.end(), 16u);
}

TEST(WriteBufferTest, NamesTheGapsOfARead) {
  WriteBuffer buffer(kPiece);
  buffer.Write(10, Text("aa"));
  buffer.Write(20, Text("bb"));
  std::vector<uint8_t> into(20);
  const auto gaps = buffer.Read(5, into);
  ASSERT_EQ(gaps.size(), 3u);
  EXPECT_EQ(gaps[0].offset, 5u);
  EXPECT_EQ(gaps[0].length, 5u);
  EXPECT_EQ(gaps[1].offset, 12u);
  EXPECT_EQ(gaps[1].length, 8u);
  EXPECT_EQ(gaps[2].offset, 22u);
  EXPECT_EQ(gaps[2].length, 3u);
}

TEST(WriteBufferTest, TakesFullPiecesAtOnceAndOthersThroughAMark) {
  WriteBuffer buffer(kPiece);
  buffer.Write(10, Bytes(2 * kPiece, 'x'));  // the end of one, all of the next, some of a third
  auto taken = buffer.Take(0);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].offset, kPiece);
  EXPECT_EQ(taken[0].bytes->size(), kPiece);
  const uint64_t mark = buffer.mark();
  buffer.Write(5 * kPiece, Text("later"));
  taken = buffer.Take(mark);
  ASSERT_EQ(taken.size(), 2u);
  EXPECT_EQ(taken[0].offset, 10u);
  EXPECT_EQ(taken[1].offset, 2 * kPiece);
  EXPECT_TRUE(buffer.HoldsThrough(mark));
  buffer.Answered(kPiece);
  buffer.Answered(10);
  buffer.Answered(2 * kPiece);
  EXPECT_FALSE(buffer.HoldsThrough(mark));
  EXPECT_TRUE(buffer.HoldsThrough(buffer.mark()));
}

TEST(WriteBufferTest, NeighboursAreSentAsOne) {
  WriteBuffer buffer(kPiece);
  buffer.Write(8, Text("bbbb"));
  buffer.Write(4, Text("aaaa"));
  buffer.Write(30, Text("cc"));
  EXPECT_THAT(Texts(buffer.Take(buffer.mark())),
              ::testing::ElementsAre(std::pair(uint64_t{4}, std::string("aaaabbbb")),
                                     std::pair(uint64_t{30}, std::string("cc"))));
}

TEST(WriteBufferTest, WhatIsUnderWayIsReadAndNotSentAgainUntilAnswered) {
  WriteBuffer buffer(kPiece);
  buffer.Write(0, Text("first"));
  ASSERT_EQ(buffer.Take(buffer.mark()).size(), 1u);
  EXPECT_EQ(ReadText(buffer, 0, 5), "first");
  buffer.Write(2, Text("XX"));
  EXPECT_EQ(ReadText(buffer, 0, 5), "fiXXt");
  EXPECT_TRUE(buffer.Take(buffer.mark()).empty());
  buffer.Answered(0);
  EXPECT_EQ(ReadText(buffer, 0, 5), "..XX.");
  EXPECT_EQ(buffer.Take(buffer.mark()).size(), 1u);
}

TEST(WriteBufferTest, AWriteThatGoesPastKeepsItsPieceBack) {
  WriteBuffer buffer(kPiece);
  buffer.BeginThrough({10, 4});
  buffer.Write(0, Text("a"));
  buffer.Write(kPiece, Text("b"));
  EXPECT_THAT(Texts(buffer.Take(buffer.mark())),
              ::testing::ElementsAre(std::pair(uint64_t{kPiece}, std::string("b"))));
  buffer.EndThrough({10, 4});
  EXPECT_EQ(buffer.Take(buffer.mark()).size(), 1u);
}

TEST(WriteBufferTest, CutsWhatIsBeyondTheEndAndGivesItsMemoryBack) {
  WriteBuffer buffer(kPiece);
  buffer.Write(0, Bytes(3 * kPiece, 'x'));
  buffer.CutBeyond(kPiece + 10);
  EXPECT_EQ(buffer.end(), kPiece + 10);
  EXPECT_EQ(buffer.memory(), kPiece + 10 + 2 * WriteBuffer::kRangeOverhead);
  EXPECT_EQ(buffer.Take(0).size(), 1u);  // the second is not full any more
  buffer.CutBeyond(0);
  EXPECT_FALSE(buffer.has_dirty());
  EXPECT_EQ(buffer.end(), kPiece) << "what is under way stays";
  buffer.Answered(0);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.memory(), 0u);
}

uint64_t Seed() {
  const char* given = std::getenv("SHEAF_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
}

// Random steps against a plain array of what was written last and one of what was answered.
TEST(WriteBufferTest, AgreesWithAPlainArrayUnderRandomSteps) {
  const uint64_t seed = Seed();
  SCOPED_TRACE("SHEAF_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr size_t kSize = 10 * kPiece;
  WriteBuffer buffer(kPiece);
  std::vector<uint8_t> model(kSize, 0);
  std::vector<uint8_t> chain(kSize, 0);
  std::vector<WriteBuffer::Outgoing> under_way;
  const auto answer = [&](size_t index) {
    const auto range = under_way[index];
    under_way.erase(under_way.begin() + static_cast<ptrdiff_t>(index));
    std::copy(range.bytes->begin(), range.bytes->end(),
              chain.begin() + static_cast<ptrdiff_t>(range.offset));
    buffer.Answered(range.offset);
  };
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t offset = random() % kSize;
    const size_t size = 1 + random() % std::min<uint64_t>(kSize - offset, 100);
    switch (random() % 5) {
      case 0:
      case 1: {
        const Bytes bytes(size, static_cast<uint8_t>(1 + random() % 255));
        buffer.Write(offset, bytes);
        std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<ptrdiff_t>(offset));
        break;
      }
      case 2: {
        std::vector<uint8_t> into(size, 0xee);
        for (const auto& gap : buffer.Read(offset, into)) {
          std::copy_n(chain.begin() + static_cast<ptrdiff_t>(gap.offset), gap.length,
                      into.begin() + static_cast<ptrdiff_t>(gap.offset - offset));
        }
        ASSERT_TRUE(
            std::equal(into.begin(), into.end(), model.begin() + static_cast<ptrdiff_t>(offset)));
        break;
      }
      case 3:
        for (auto& range : buffer.Take(random() % (buffer.mark() + 1))) {
          for (const auto& other : under_way) {
            const bool apart = range.offset + range.bytes->size() <= other.offset ||
                               other.offset + other.bytes->size() <= range.offset;
            ASSERT_TRUE(apart) << "two writes under way for one byte";
          }
          under_way.push_back(std::move(range));
        }
        break;
      default:
        if (!under_way.empty()) answer(random() % under_way.size());
    }
  }
  while (!buffer.empty()) {
    for (auto& range : buffer.Take(buffer.mark())) under_way.push_back(std::move(range));
    while (!under_way.empty()) answer(0);
  }
  EXPECT_EQ(chain, model);
  EXPECT_EQ(buffer.memory(), 0u);
}

}  // namespace
}  // namespace sheaf::client
