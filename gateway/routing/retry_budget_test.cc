#include "gateway/routing/retry_budget.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

const RetrySettings kSettings;

using std::chrono::milliseconds;

std::size_t WithdrawAll(RetryBudget& budget) {
  std::size_t spent = 0;
  while (budget.TryWithdraw()) ++spent;
  return spent;
}

TEST(RetryBudget, AnEnclaveThatDiesAtOnceIsProvidedFor) {
  RetryBudget budget(kSettings);
  EXPECT_EQ(budget.left(), static_cast<std::size_t>(RetryBudget::kSavedMax));
  EXPECT_EQ(WithdrawAll(budget), static_cast<std::size_t>(RetryBudget::kSavedMax));
}

TEST(RetryBudget, TenRequestsDepositOneRetry) {
  RetryBudget budget(kSettings);
  WithdrawAll(budget);
  for (int i = 0; i < 9; ++i) budget.Deposit(1);
  EXPECT_FALSE(budget.TryWithdraw());
  budget.Deposit(1);
  EXPECT_TRUE(budget.TryWithdraw());
  budget.Deposit(100);
  EXPECT_EQ(WithdrawAll(budget), 10u);
}

TEST(RetryBudget, SavingEnds) {
  RetryBudget budget(kSettings);
  budget.Deposit(1'000'000);
  EXPECT_EQ(budget.left(), static_cast<std::size_t>(RetryBudget::kSavedMax));
}

TEST(RetryBudget, WithoutTrafficAFewAreThereAgainAfterAWhile) {
  RetryBudget budget(kSettings);
  WithdrawAll(budget);
  MonotonicTime now{std::chrono::hours(1)};
  for (int i = 0; i < 100; ++i) budget.Tick(now += milliseconds(10));
  EXPECT_EQ(budget.left(), 10u) << "ten a second";
  for (int i = 0; i < 1000; ++i) budget.Tick(now += milliseconds(10));
  EXPECT_EQ(budget.left(), static_cast<std::size_t>(RetryBudget::kFloor));
}

TEST(RetryBudget, AStormIsSmall) {
  RetryBudget budget(kSettings);
  MonotonicTime now{std::chrono::hours(1)};
  std::size_t received = 0;
  std::size_t retried = 0;
  while (now < MonotonicTime(std::chrono::hours(1)) + std::chrono::seconds(10)) {
    budget.Tick(now += milliseconds(1));
    budget.Deposit(5);
    received += 5;
    retried += WithdrawAll(budget);
  }
  EXPECT_LE(static_cast<double>(retried), 0.12 * static_cast<double>(received));
}

TEST(RetryBudget, WhatARequestDepositsIsWhatTheSettingSaysNow) {
  RetrySettings settings;
  RetryBudget budget(settings);
  WithdrawAll(budget);
  settings.requests_per_retry = 4;
  budget.Deposit(40);
  EXPECT_EQ(budget.left(), 10u);
  settings.requests_per_retry = 1000;
  budget.Deposit(2000);
  EXPECT_EQ(budget.left(), 12u);
}

}  // namespace
}  // namespace bulla
