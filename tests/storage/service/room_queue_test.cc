#include "storage/service/room_queue.h"

#include <gtest/gtest.h>

#include <vector>

namespace sheaf::storage {
namespace {

using std::chrono::milliseconds;

TEST(RoomQueueTest, LetsTheFirstGoFirstEvenWhenTheSecondWouldFit) {
  RoomQueue queue(10, milliseconds(100));
  std::vector<int> went;
  queue.Add(100, {}, [&](Status) { went.push_back(1); });
  queue.Add(1, {}, [&](Status) { went.push_back(2); });
  queue.Advance(milliseconds(1), [](size_t bytes) { return bytes < 50; });
  EXPECT_TRUE(went.empty());
  queue.Advance(milliseconds(2), [](size_t) { return true; });
  EXPECT_EQ(went, (std::vector{1, 2}));
}

TEST(RoomQueueTest, AnswersBusyAfterTheWait) {
  RoomQueue queue(10, milliseconds(100));
  Status status;
  queue.Add(1, milliseconds(5), [&](Status answer) { status = answer; });
  queue.Advance(milliseconds(104), [](size_t) { return false; });
  EXPECT_FALSE(queue.empty());
  queue.Advance(milliseconds(105), [](size_t) { return false; });
  EXPECT_EQ(status.code(), Code::kBusy);
}

TEST(RoomQueueTest, TakesNoMoreThanItsLimit) {
  RoomQueue queue(2, milliseconds(100));
  EXPECT_TRUE(queue.Add(1, {}, [](Status) {}));
  EXPECT_TRUE(queue.Add(1, {}, [](Status) {}));
  EXPECT_FALSE(queue.Add(1, {}, [](Status) {}));
}

TEST(RoomQueueTest, ClearAnswersEveryone) {
  RoomQueue queue(2, milliseconds(100));
  int busy = 0;
  queue.Add(1, {}, [&](Status status) { busy += status.code() == Code::kBusy; });
  queue.Add(1, {}, [&](Status status) { busy += status.code() == Code::kBusy; });
  queue.Clear();
  EXPECT_EQ(busy, 2);
}

}  // namespace
}  // namespace sheaf::storage
