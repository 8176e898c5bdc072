#include "common/transport/send_queue.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace sheaf::transport {
namespace {

FrameHeader HeaderOf(uint64_t id, std::string_view message, size_t payload) {
  return {.request_id = id,
          .message_length = static_cast<uint32_t>(message.size()),
          .payload_length = static_cast<uint32_t>(payload)};
}

std::string Expected(uint64_t id, std::string_view message, std::span<const uint8_t> payload) {
  const auto header = EncodeHeader(HeaderOf(id, message, payload.size()));
  return std::string(header.begin(), header.end()) + std::string(message) +
         std::string(payload.begin(), payload.end());
}

// Sends all in pieces of `piece` bytes.
std::string Drain(SendQueue& queue, size_t piece, std::vector<uint64_t>* released) {
  std::string out;
  while (!queue.empty()) {
    std::array<iovec, 3> parts;
    const size_t count = queue.Gather(parts);
    std::string gathered;
    for (size_t i = 0; i < count; ++i) {
      gathered.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
    }
    gathered.resize(std::min(gathered.size(), piece));
    queue.Advance(gathered.size(), released);
    out += gathered;
  }
  return out;
}

TEST(SendQueueTest, SmallFramesShareOnePart) {
  SendQueue queue;
  for (uint64_t id = 1; id <= 100; ++id)
    EXPECT_FALSE(queue.Append(HeaderOf(id, "ask", 0), "ask", {}));
  std::array<iovec, 8> parts;
  EXPECT_EQ(queue.Gather(parts), 1u);
  EXPECT_EQ(parts[0].iov_len, 100 * (kHeaderSize + 3));
}

TEST(SendQueueTest, KeepsOrderWhateverThePieces) {
  const std::vector<uint8_t> large(10000, 7);
  const std::vector<uint8_t> small(100, 8);
  for (const size_t piece : {1u, 63u, 1000u, 1u << 20}) {
    SendQueue queue;
    EXPECT_TRUE(queue.Append(HeaderOf(1, "a", large.size()), "a", large));
    EXPECT_FALSE(queue.Append(HeaderOf(2, "bb", small.size()), "bb", small));
    EXPECT_TRUE(queue.Append(HeaderOf(3, "", large.size()), "", large));
    std::vector<uint64_t> released;
    EXPECT_EQ(Drain(queue, piece, &released),
              Expected(1, "a", large) + Expected(2, "bb", small) + Expected(3, "", large));
    EXPECT_EQ(released, (std::vector<uint64_t>{1, 3}));
    EXPECT_EQ(queue.owned_bytes(), 0u);
  }
}

TEST(SendQueueTest, ADetachedPayloadMayBeOverwritten) {
  std::vector<uint8_t> payload(10000, 7);
  const std::string expected = Expected(1, "a", payload);
  for (const size_t sent : {size_t{0}, size_t{10}, kHeaderSize + 1, size_t{5000}}) {
    std::vector<uint8_t> mine = payload;
    SendQueue queue;
    queue.Append(HeaderOf(1, "a", mine.size()), "a", mine);
    std::vector<uint64_t> released;
    queue.Advance(sent, &released);
    queue.Detach(1);
    mine.assign(mine.size(), 0);
    EXPECT_EQ(Drain(queue, 999, &released), expected.substr(sent)) << sent;
    EXPECT_TRUE(released.empty());
    EXPECT_EQ(queue.owned_bytes(), 0u);
  }
}

}  // namespace
}  // namespace sheaf::transport
