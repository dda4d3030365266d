#include "base/bounded_queue.h"

#include <atomic>
#include <gtest/gtest.h>
#include <memory>
#include <thread>
#include <vector>

namespace bulla {
namespace {

TEST(BoundedQueue, RefusesAtTheLimitAndLeavesTheItemAlone) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  auto second = std::make_unique<int>(2);
  EXPECT_FALSE(queue.TryPush(std::move(second)));
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(**queue.Pop(), 1);
  EXPECT_TRUE(queue.TryPush(std::move(second)));
}

TEST(BoundedQueue, ClosingLetsOutWhatIsInsideAndNothingElseIn) {
  BoundedQueue<int> queue(4);
  queue.TryPush(1);
  queue.Close();
  EXPECT_FALSE(queue.TryPush(2));
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), std::nullopt);
}

TEST(BoundedQueue, EveryItemReachesExactlyOneOfManyThreads) {
  constexpr int kItems = 20000;
  BoundedQueue<int> queue(64);
  std::atomic<long> sum{0};
  std::vector<std::thread> consumers;
  for (int i = 0; i < 4; ++i) {
    consumers.emplace_back([&] {
      while (std::optional<int> item = queue.Pop()) sum += *item;
    });
  }
  for (int i = 1; i <= kItems;) {
    if (queue.TryPush(int{i})) ++i;
  }
  queue.Close();
  for (std::thread& consumer : consumers) consumer.join();
  EXPECT_EQ(sum, long{kItems} * (kItems + 1) / 2);
}

}  // namespace
}  // namespace bulla
