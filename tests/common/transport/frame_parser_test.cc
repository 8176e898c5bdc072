#include "common/transport/frame_parser.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace sheaf::transport {
namespace {

struct Frame {
  FrameHeader header;
  std::string message;
  std::vector<uint8_t> payload;
  friend bool operator==(const Frame&, const Frame&) = default;
};

Frame MakeFrame(std::mt19937_64& random, size_t message, size_t payload) {
  Frame frame;
  frame.header = {.type = FrameType::kRequest,
                  .method = Method::kWrite,
                  .request_id = random(),
                  .message_length = static_cast<uint32_t>(message),
                  .payload_length = static_cast<uint32_t>(payload)};
  frame.message.resize(message);
  for (char& c : frame.message) c = static_cast<char>(random());
  frame.payload.resize(payload);
  for (uint8_t& b : frame.payload) b = static_cast<uint8_t>(random());
  return frame;
}

std::string Encode(const std::vector<Frame>& frames) {
  std::string stream;
  for (const Frame& frame : frames) {
    const auto header = EncodeHeader(frame.header);
    stream.append(header.begin(), header.end());
    stream += frame.message;
    stream.append(frame.payload.begin(), frame.payload.end());
  }
  return stream;
}

// Pushes bytes through a parser, as a reader of a socket would.
class Reader {
 public:
  explicit Reader(const FrameLimits& limits = {}, size_t staging = FrameParser::kStagingBytes)
      : parser_(limits, staging) {}

  // False once the parser failed.
  bool Push(std::string_view bytes) {
    while (!bytes.empty()) {
      size_t moved = 0;
      for (const iovec& part : parser_.Space()) {
        EXPECT_GT(part.iov_len, 0u);
        const size_t n = std::min(part.iov_len, bytes.size() - moved);
        std::memcpy(part.iov_base, bytes.data() + moved, n);
        moved += n;
      }
      EXPECT_GT(moved, 0u);
      parser_.Received(moved);
      bytes.remove_prefix(moved);
      if (!Drain()) return false;
    }
    return true;
  }

  bool Drain() {
    for (;;) {
      switch (parser_.Next()) {
        case FrameParser::Event::kNeedBytes:
          return true;
        case FrameParser::Event::kMessage: {
          Frame frame{parser_.header(), {}, {}};
          frame.message.assign(parser_.message().begin(), parser_.message().end());
          frame.payload.resize(frame.header.payload_length);
          frames.push_back(std::move(frame));
          if (frames.back().payload.empty()) {
            ++complete;
          } else if (discard_every != 0 && frames.size() % discard_every == 0) {
            parser_.DiscardPayload();
          } else {
            parser_.ReceivePayload(frames.back().payload);
          }
          break;
        }
        case FrameParser::Event::kPayload:
          ++complete;
          break;
        case FrameParser::Event::kError:
          EXPECT_EQ(parser_.Next(), FrameParser::Event::kError) << "an error is final";
          EXPECT_TRUE(parser_.Space().empty());
          return false;
      }
    }
  }

  FrameParser& parser() { return parser_; }
  std::vector<Frame> frames;
  size_t complete = 0;
  size_t discard_every = 0;

 private:
  FrameParser parser_;
};

uint64_t Seed() {
  const char* given = std::getenv("SHEAF_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  std::printf("SHEAF_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

TEST(FrameParserTest, EverySplitPointGivesTheSameFrames) {
  std::mt19937_64 random(1);
  const std::vector<Frame> frames = {MakeFrame(random, 0, 0), MakeFrame(random, 40, 0),
                                     MakeFrame(random, 0, 100), MakeFrame(random, 17, 300),
                                     MakeFrame(random, 5, 0)};
  const std::string stream = Encode(frames);
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    Reader reader({}, 128);
    ASSERT_TRUE(reader.Push(std::string_view(stream).substr(0, cut)));
    ASSERT_TRUE(reader.Push(std::string_view(stream).substr(cut)));
    ASSERT_EQ(reader.frames, frames) << "cut at " << cut;
    EXPECT_EQ(reader.complete, frames.size());
    EXPECT_TRUE(reader.parser().AtFrameBoundary());
  }
}

TEST(FrameParserTest, OneByteAtATime) {
  std::mt19937_64 random(2);
  const std::vector<Frame> frames = {MakeFrame(random, 300, 200), MakeFrame(random, 3, 0)};
  Reader reader({}, kHeaderSize);
  for (const char byte : Encode(frames)) ASSERT_TRUE(reader.Push({&byte, 1}));
  EXPECT_EQ(reader.frames, frames);
}

TEST(FrameParserTest, RandomFramesInRandomPieces) {
  std::mt19937_64 random(Seed());
  const auto below = [&](uint64_t n) { return random() % n; };
  for (int round = 0; round < 60; ++round) {
    std::vector<Frame> frames;
    for (size_t i = 0, n = 1 + below(60); i < n; ++i) {
      const size_t payload = below(3) == 0 ? 0 : below(below(4) == 0 ? 200000 : 5000);
      frames.push_back(MakeFrame(random, below(below(5) == 0 ? 3000 : 60), payload));
    }
    Reader reader({}, kHeaderSize + below(1 << 12));
    if (below(2) == 0) reader.discard_every = 2;
    const std::string stream = Encode(frames);
    const size_t piece = 1 + below(1 << below(18));
    for (size_t at = 0; at < stream.size();) {
      const size_t n = std::min(stream.size() - at, 1 + below(piece));
      ASSERT_TRUE(reader.Push(std::string_view(stream).substr(at, n)));
      at += n;
    }
    ASSERT_EQ(reader.frames.size(), frames.size());
    for (size_t i = 0; i < frames.size(); ++i) {
      const bool dropped = reader.discard_every != 0 && (i + 1) % reader.discard_every == 0;
      EXPECT_EQ(reader.frames[i].message, frames[i].message);
      EXPECT_TRUE(dropped || reader.frames[i].payload == frames[i].payload) << i;
    }
  }
}

TEST(FrameParserTest, ALargePayloadIsReceivedInPlace) {
  std::mt19937_64 random(3);
  const Frame frame = MakeFrame(random, 10, 1 << 20);
  const std::string stream = Encode({frame});
  FrameParser parser({});
  std::memcpy(parser.Space()[0].iov_base, stream.data(), 100);
  parser.Received(100);
  ASSERT_EQ(parser.Next(), FrameParser::Event::kMessage);
  std::vector<uint8_t> into(1 << 20);
  parser.ReceivePayload(into);
  ASSERT_EQ(parser.Next(), FrameParser::Event::kNeedBytes);
  const auto space = parser.Space();
  const size_t here = 100 - kHeaderSize - 10;
  ASSERT_EQ(space.size(), 2u);
  EXPECT_EQ(space[0].iov_base, into.data() + here);
  EXPECT_EQ(space[0].iov_len, into.size() - here);
  EXPECT_EQ(space[1].iov_len, FrameParser::kTailBytes);
}

TEST(FrameParserTest, AMessageIsNotCopiedOutOfStaging) {
  std::mt19937_64 random(4);
  const std::string stream = Encode({MakeFrame(random, 50, 0), MakeFrame(random, 50, 0)});
  FrameParser parser({});
  auto* staging = static_cast<uint8_t*>(parser.Space()[0].iov_base);
  std::memcpy(staging, stream.data(), stream.size());
  parser.Received(stream.size());
  ASSERT_EQ(parser.Next(), FrameParser::Event::kMessage);
  EXPECT_EQ(parser.message().data(), staging + kHeaderSize);
  ASSERT_EQ(parser.Next(), FrameParser::Event::kMessage);
  EXPECT_EQ(parser.message().data(), staging + 2 * kHeaderSize + 50);
}

TEST(FrameParserTest, ADestinationMayComeLater) {
  std::mt19937_64 random(5);
  const std::vector<Frame> frames = {MakeFrame(random, 4, 64), MakeFrame(random, 4, 0)};
  const std::string stream = Encode(frames);
  FrameParser parser({});
  std::memcpy(parser.Space()[0].iov_base, stream.data(), stream.size());
  parser.Received(stream.size());
  ASSERT_EQ(parser.Next(), FrameParser::Event::kMessage);
  EXPECT_TRUE(parser.WaitsForDestination());
  EXPECT_TRUE(parser.Space().empty());
  std::vector<uint8_t> into(64);
  parser.ReceivePayload(into);
  ASSERT_EQ(parser.Next(), FrameParser::Event::kPayload);
  EXPECT_EQ(into, frames[0].payload);
  EXPECT_EQ(parser.Next(), FrameParser::Event::kMessage);
}

TEST(FrameParserTest, DiscardingMidwayLeavesTheDestinationAlone) {
  std::mt19937_64 random(6);
  const std::vector<Frame> frames = {MakeFrame(random, 0, 100000), MakeFrame(random, 9, 0)};
  const std::string stream = Encode(frames);
  Reader reader;
  ASSERT_TRUE(reader.Push(std::string_view(stream).substr(0, 50000)));
  reader.parser().DiscardPayload();
  const std::vector<uint8_t> before = reader.frames[0].payload;
  ASSERT_TRUE(reader.Push(std::string_view(stream).substr(50000)));
  EXPECT_EQ(reader.frames[0].payload, before);
  ASSERT_EQ(reader.frames.size(), 2u);
  EXPECT_EQ(reader.frames[1], frames[1]);
}

TEST(FrameParserTest, LengthsOverTheLimitsFail) {
  std::mt19937_64 random(7);
  const FrameLimits limits{.max_message = 100, .max_payload = 200};
  EXPECT_TRUE(Reader(limits).Push(Encode({MakeFrame(random, 100, 200)})));
  EXPECT_FALSE(Reader(limits).Push(Encode({MakeFrame(random, 101, 0)})));
  EXPECT_FALSE(Reader(limits).Push(Encode({MakeFrame(random, 0, 201)})));
}

TEST(FrameParserTest, LimitsChangeBetweenFrames) {
  std::mt19937_64 random(8);
  Reader reader({.max_message = 10, .max_payload = 0});
  ASSERT_TRUE(reader.Push(Encode({MakeFrame(random, 10, 0)})));
  reader.parser().set_limits({.max_message = 1000, .max_payload = 1000});
  EXPECT_TRUE(reader.Push(Encode({MakeFrame(random, 1000, 1000)})));
}

TEST(FrameParserTest, ABadByteInAnyHeaderFieldEndsTheStream) {
  std::mt19937_64 random(9);
  const std::string stream = Encode({MakeFrame(random, 20, 30), MakeFrame(random, 20, 30)});
  for (size_t byte = 0; byte < kHeaderSize; ++byte) {
    std::string bad = stream;
    bad[kHeaderSize + 50 + byte] ^= 0x10;
    Reader reader;
    EXPECT_FALSE(reader.Push(bad)) << byte;
    EXPECT_EQ(reader.complete, 1u);
    EXPECT_EQ(reader.parser().status().code(), Code::kProtocol);
  }
}

TEST(FrameParserTest, RubbishFailsWithinOneHeader) {
  std::mt19937_64 random(Seed());
  for (int round = 0; round < 200; ++round) {
    std::string rubbish(kHeaderSize + random() % 500, '\0');
    for (char& c : rubbish) c = static_cast<char>(random());
    EXPECT_FALSE(Reader().Push(rubbish));
  }
}

}  // namespace
}  // namespace sheaf::transport
