#include "base/await.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

TEST(AwaitBlocking, LooksAgainUntilItIsSoOrPatienceIsOver) {
  int looks = 0;
  EXPECT_TRUE(AwaitBlocking(std::chrono::minutes(1), [&] { return ++looks == 3; }));
  EXPECT_EQ(looks, 3);
  EXPECT_FALSE(AwaitBlocking(std::chrono::milliseconds(2), [] { return false; }));
  EXPECT_TRUE(AwaitBlocking(Duration{}, [] { return true; })) << "it looks once at least";
}

}  // namespace
}  // namespace bulla
