#include "client/chunk/delay_queue.h"

#include <gtest/gtest.h>

#include <future>

namespace sheaf::client {
namespace {

using std::chrono::milliseconds;

TEST(DelayQueueTest, RunsInOrderOfTimeNotOfPosting) {
  DelayQueue queue(1);
  std::vector<int> order;
  std::promise<void> posted;
  std::promise<void> last;
  const auto now = Clock::System().Now();
  // Its one thread is kept until both are there, however long that takes.
  queue.Post(now, [both = posted.get_future().share()] { both.wait(); });
  queue.Post(now + milliseconds(30), [&] {
    order.push_back(2);
    last.set_value();
  });
  queue.Post(now + milliseconds(5), [&] { order.push_back(1); });
  posted.set_value();
  last.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(DelayQueueTest, RunsEqualsInOrderOfPosting) {
  DelayQueue queue(1);
  std::vector<int> order;
  std::promise<void> last;
  const auto when = Clock::System().Now() + milliseconds(5);
  for (int i = 0; i < 3; ++i) queue.Post(when, [&order, i] { order.push_back(i); });
  queue.Post(when, [&] { last.set_value(); });
  last.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST(DelayQueueTest, DropsWhatHasNotBegunWhenDestroyed) {
  bool ran = false;
  {
    DelayQueue queue(2);
    queue.Post(Clock::System().Now() + std::chrono::hours(1), [&] { ran = true; });
  }
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace sheaf::client
