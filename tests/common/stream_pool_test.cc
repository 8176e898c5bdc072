#include "common/stream_pool.h"

#include <gtest/gtest.h>

namespace sheaf {
namespace {

TEST(StreamPoolTest, AStreamIsHeldByOneAtATime) {
  StreamPool pool;
  const auto first = pool.Acquire();
  const auto second = pool.Acquire();
  EXPECT_NE(first.stream, second.stream);
}

TEST(StreamPoolTest, SequencesOfAStreamRise) {
  StreamPool pool;
  auto lease = pool.Acquire();
  pool.Advance(lease);
  const auto used = lease;
  pool.Release(lease);
  const auto next = pool.Acquire();
  EXPECT_EQ(next.stream, used.stream);
  EXPECT_GT(next.sequence, used.sequence);
}

}  // namespace
}  // namespace sheaf
