#include "base/bounded_queue.h"

#include <atomic>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <thread>
#include <vector>

namespace bulla {
namespace {

TEST(BoundedQueue, RefusesAtTheLimitAndLeavesTheItemAlone) {
  BoundedQueue<std::unique_ptr<int>> queue("numbers", 1);
  EXPECT_EQ(queue.Push(std::make_unique<int>(1)), absl::OkStatus());
  auto second = std::make_unique<int>(2);
  EXPECT_EQ(queue.Push(std::move(second)),
            absl::ResourceExhaustedError("numbers: full, 1 are waiting"));
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(**queue.Pop(), 1);
  EXPECT_EQ(queue.Push(std::move(second)), absl::OkStatus());
}

TEST(BoundedQueue, ClosingLetsOutWhatIsInsideAndNothingElseIn) {
  BoundedQueue<int> queue("numbers", 4);
  ASSERT_EQ(queue.Push(1), absl::OkStatus());
  queue.Close();
  EXPECT_EQ(queue.Push(2), absl::UnavailableError("numbers: closed"));
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), std::nullopt);
  EXPECT_TRUE(queue.PopUpTo(3).empty());
}

TEST(BoundedQueue, SeveralAreTakenInTheirOrderAndNoMoreThanWereAskedFor) {
  BoundedQueue<int> queue("numbers", 4);
  for (int i = 1; i <= 4; ++i) ASSERT_EQ(queue.Push(int{i}), absl::OkStatus());
  EXPECT_THAT(queue.PopUpTo(3), testing::ElementsAre(1, 2, 3));
  EXPECT_THAT(queue.PopUpTo(3), testing::ElementsAre(4)) << "what there is, without waiting";
}

TEST(BoundedQueue, EveryItemReachesExactlyOneOfManyThreads) {
  constexpr int kItems = 20000;
  BoundedQueue<int> queue("numbers", 64);
  std::atomic<long> sum{0};
  std::vector<std::thread> consumers;
  for (int i = 0; i < 4; ++i) {
    consumers.emplace_back([&] {
      while (std::optional<int> item = queue.Pop()) sum += *item;
    });
  }
  for (int i = 1; i <= kItems;) {
    if (queue.Push(int{i}).ok()) ++i;
  }
  queue.Close();
  for (std::thread& consumer : consumers) consumer.join();
  EXPECT_EQ(sum, long{kItems} * (kItems + 1) / 2);
}

}  // namespace
}  // namespace bulla
