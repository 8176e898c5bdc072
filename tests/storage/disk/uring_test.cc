#include "storage/disk/uring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "common/fd.h"
#include "tests/support/temp_dir.h"

namespace sheaf::storage {
namespace {

constexpr std::chrono::seconds kLong{10};

class RecordingOp : public Op {
 public:
  int completions = 0;
  int32_t result = 0;

 private:
  void Complete(int32_t value, bool) override {
    ++completions;
    result = value;
  }
};

// Both the best setup and the plain one.
class UringTest : public ::testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<Uring> Create() {
    Uring::Options options;
    options.entries = 8;
    options.plain = GetParam();
    auto ring = Uring::Create(options);
    CHECK(ring.ok(), ring.status().ToString());
    return std::move(*ring);
  }
  void RunUntil(Uring& ring, const RecordingOp& op) {
    while (op.completions == 0) ring.Run(kLong);
  }
  std::pair<UniqueFd, UniqueFd> SocketPair() {
    int ends[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
  }
};

INSTANTIATE_TEST_SUITE_P(Modes, UringTest, ::testing::Bool());

TEST_P(UringTest, ReceivesWhatIsSent) {
  auto ring = Create();
  auto [left, right] = SocketPair();
  std::array<uint8_t, 16> got{};
  RecordingOp receive;
  ring->Receive(receive, nullptr, left.get(), got, false);
  std::string text = "hello";
  iovec part{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  RecordingOp send;
  ring->Send(send, nullptr, right.get(), message);
  RunUntil(*ring, receive);
  EXPECT_EQ(send.result, 5);
  EXPECT_EQ(receive.result, 5);
  EXPECT_EQ(std::memcmp(got.data(), "hello", 5), 0);
  EXPECT_EQ(ring->in_flight(), 0u);
}

TEST_P(UringTest, CompletionsRunInsideRunOnly) {
  auto ring = Create();
  auto [left, right] = SocketPair();
  ASSERT_EQ(::write(right.get(), "x", 1), 1);
  std::array<uint8_t, 1> got{};
  RecordingOp receive;
  ring->Receive(receive, nullptr, left.get(), got, false);
  EXPECT_EQ(receive.completions, 0);
  EXPECT_TRUE(receive.in_flight());
  RunUntil(*ring, receive);
  EXPECT_FALSE(receive.in_flight());
}

TEST_P(UringTest, ThePinIsHeldUntilTheCompletion) {
  auto ring = Create();
  auto [left, right] = SocketPair();
  auto pin = std::make_shared<int>(1);
  std::weak_ptr<int> watch = pin;
  std::array<uint8_t, 1> got{};
  RecordingOp receive;
  ring->Receive(receive, std::move(pin), left.get(), got, false);
  EXPECT_FALSE(watch.expired());
  ASSERT_EQ(::write(right.get(), "x", 1), 1);
  RunUntil(*ring, receive);
  EXPECT_TRUE(watch.expired());
}

TEST_P(UringTest, CloseCancelsWhatWaitsAndReportsIt) {
  auto ring = Create();
  auto [left, right] = SocketPair();
  std::array<uint8_t, 1> got{};
  RecordingOp receive;
  ring->Receive(receive, nullptr, left.get(), got, false);
  ring->Run(std::chrono::nanoseconds(0));
  ring->Close();
  EXPECT_EQ(receive.completions, 1);
  EXPECT_EQ(receive.result, -ECANCELED);
}

TEST_P(UringTest, CancelAllReachesOneDescriptorOnly) {
  auto ring = Create();
  auto [left, right] = SocketPair();
  std::array<uint8_t, 1> a{}, b{};
  RecordingOp on_left, on_right;
  ring->Receive(on_left, nullptr, left.get(), a, false);
  ring->Receive(on_right, nullptr, right.get(), b, false);
  ring->Run(std::chrono::nanoseconds(0));
  ring->CancelAll(left.get());
  RunUntil(*ring, on_left);
  EXPECT_EQ(on_left.result, -ECANCELED);
  EXPECT_EQ(on_right.completions, 0);
  ring->Close();
}

TEST_P(UringTest, MoreOperationsThanEntries) {
  auto ring = Create();
  constexpr int kOps = 100;
  sheaf::testing::TempDir dir;
  UniqueFd file(::open((dir / "f").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(::ftruncate(file.get(), 4096 * kOps), 0);
  std::vector<std::unique_ptr<RecordingOp>> ops;
  std::vector<uint8_t> bytes(4096, 9);
  for (int i = 0; i < kOps; ++i) {
    ops.push_back(std::make_unique<RecordingOp>());
    ring->WriteFile(*ops.back(), {0, false, file.get()}, 4096 * i, bytes);
  }
  while (ring->in_flight() > 0) ring->Run(kLong);
  for (auto& op : ops) EXPECT_EQ(op->result, 4096);
}

TEST_P(UringTest, RegisteredFilesAndMemoryMoveTheSameBytes) {
  auto ring = Create();
  sheaf::testing::TempDir dir;
  UniqueFd file(::open((dir / "f").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  std::vector<uint8_t> memory(2 << 20);
  std::fill(memory.begin(), memory.begin() + 4096, 0x5a);
  const size_t registered = ring->RegisterMemory(memory);
  ASSERT_TRUE(ring->RegisterFile(5, file.get()).ok());
  RecordingOp write, read;
  ring->WriteFile(write, {5, true, -1}, 0, std::span(memory).first(4096));
  RunUntil(*ring, write);
  ASSERT_EQ(write.result, 4096) << "registered " << registered;
  ring->ReadFile(read, {5, true, -1}, 0, std::span(memory).subspan(8192, 4096));
  RunUntil(*ring, read);
  EXPECT_EQ(memory[8192], 0x5a);
}

TEST_P(UringTest, ASlotOutsideTheTableIsRefused) {
  auto ring = Create();
  EXPECT_EQ(ring->RegisterFile(1u << 30, 0).code(), Code::kTooBig);
}

using UringDeathTest = UringTest;
TEST_P(UringTest, AClosedRingHoldsNoFile) {
  auto ring = Create();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  ASSERT_TRUE(ring->RegisterFile(5, writer.get()).ok());
  writer.Reset();
  char byte = 0;
  ASSERT_EQ(::read(reader.get(), &byte, 1), -1) << "the ring's own reference keeps the pipe open";
  ring->Close();
  EXPECT_EQ(::read(reader.get(), &byte, 1), 0);
}

INSTANTIATE_TEST_SUITE_P(Modes, UringDeathTest, ::testing::Values(false));

TEST_P(UringDeathTest, UseOffItsThreadAborts) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        auto ring = Create();
        std::thread other([&] { ring->Run(std::chrono::nanoseconds(0)); });
        other.join();
      },
      "off its thread");
}

}  // namespace
}  // namespace sheaf::storage
