#include "gateway/routing/circuit_breaker.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using State = CircuitBreaker::State;

constexpr milliseconds kTick{10};

// Observes a steady outcome, tick by tick, for `time`.
class CircuitBreakerTest : public testing::Test {
 protected:
  void Pass(Duration time, std::uint64_t succeeded, std::uint64_t failed) {
    for (Duration passed{}; passed < time; passed += kTick) {
      now_ += kTick;
      breaker_.Observe(now_, succeeded, failed, /*random=*/0);
    }
  }
  // How long it stays open.
  Duration WaitUntilHalfOpen() {
    const MonotonicTime begin = now_;
    while (breaker_.state() == State::kOpen) Pass(kTick, 0, 0);
    return now_ - begin;
  }

  MonotonicTime now_{seconds(1)};
  CircuitBreaker breaker_{now_};
};

TEST_F(CircuitBreakerTest, SilenceOpensItAtTheFirstOfTheFailures) {
  Pass(seconds(5), 100, 0);
  Pass(CircuitBreaker::kSilence, 0, 0);  // frozen: nobody's time has run out yet
  EXPECT_EQ(breaker_.state(), State::kClosed);
  Pass(kTick, 0, 50);
  EXPECT_EQ(breaker_.state(), State::kOpen);
}

TEST_F(CircuitBreakerTest, AFewFailuresAmongManySuccessesDoNotOpenIt) {
  Pass(seconds(60), 100, 10);
  EXPECT_EQ(breaker_.state(), State::kClosed);
}

TEST_F(CircuitBreakerTest, OneBadBurstDoesNotOpenIt) {
  Pass(seconds(5), 100, 0);
  Pass(kTick, 0, 250);  // a connection was cut
  Pass(kTick, 100, 0);
  EXPECT_EQ(breaker_.state(), State::kClosed);
}

TEST_F(CircuitBreakerTest, AFewFailuresOnAnIdleEnclaveDoNotOpenIt) {
  Pass(seconds(5), 0, 0);
  Pass((CircuitBreaker::kFailuresMin - 1) * kTick, 0, 1);
  EXPECT_EQ(breaker_.state(), State::kClosed);
  Pass(kTick, 0, 1);
  EXPECT_EQ(breaker_.state(), State::kOpen);
}

TEST_F(CircuitBreakerTest, HalfOfThemFailingOpensIt) {
  Pass(seconds(5), 10, 0);
  Pass(seconds(2), 10, 11);
  EXPECT_EQ(breaker_.state(), State::kOpen);
}

TEST_F(CircuitBreakerTest, TrialsThatSucceedCloseIt) {
  Pass(seconds(1), 0, 1);
  WaitUntilHalfOpen();
  Pass((CircuitBreaker::kTrials - 1) * kTick, 1, 0);
  EXPECT_EQ(breaker_.state(), State::kHalfOpen);
  Pass(kTick, 1, 0);
  EXPECT_EQ(breaker_.state(), State::kClosed);
  Pass((CircuitBreaker::kFailuresMin - 1) * kTick, 0, 1);
  EXPECT_EQ(breaker_.state(), State::kClosed) << "what was before does not count any more";
}

TEST_F(CircuitBreakerTest, ATrialThatFailsOpensItForLonger) {
  Pass(seconds(1), 0, 1);
  Duration before{};
  for (int i = 0; i < 12; ++i) {
    const Duration open = WaitUntilHalfOpen();
    EXPECT_GE(open, before);
    EXPECT_LE(open, CircuitBreaker::kOpenMax);
    before = open;
    Pass(kTick, 1, 1);
    ASSERT_EQ(breaker_.state(), State::kOpen);
  }
  EXPECT_GE(before, CircuitBreaker::kOpenMax / 2 - kTick);
}

TEST_F(CircuitBreakerTest, LateAnswersDoNotCountWhileItIsOpen) {
  Pass(seconds(1), 0, 1);
  ASSERT_EQ(breaker_.state(), State::kOpen);
  Pass(kTick, CircuitBreaker::kTrials, 0);
  EXPECT_EQ(breaker_.state(), State::kOpen);
}

}  // namespace
}  // namespace bulla
