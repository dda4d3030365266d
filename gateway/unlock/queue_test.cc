#include "gateway/unlock/queue.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <vector>

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr MonotonicTime kStart{};
const UnlockSettings kSettings;

UnlockQueue::Task NewTask(std::uint32_t enclave) { return {enclave, DekId::New({})}; }

TEST(UnlockQueue, OnePairIsOneFlightHoweverOftenItIsWanted) {
  UnlockQueue queue(kSettings);
  UnlockQueue::Task task = NewTask(0);
  for (int i = 0; i < 500; ++i) EXPECT_TRUE(queue.Want(task, kStart));
  EXPECT_EQ(queue.Start(kStart).size(), 1u);
  EXPECT_TRUE(queue.Want(task, kStart));
  EXPECT_TRUE(queue.Start(kStart + seconds(60)).empty()) << "it is in flight";
  queue.Succeeded(task);
  EXPECT_EQ(queue.size(), 0u);
}

TEST(UnlockQueue, NoMoreThanTheLimitAreInFlight) {
  UnlockQueue queue(kSettings);
  for (int i = 0; i < 10; ++i) queue.Want(NewTask(0), kStart);
  std::vector<UnlockQueue::Task> first = queue.Start(kStart);
  EXPECT_EQ(first.size(), kSettings.concurrency_max.Get());
  EXPECT_TRUE(queue.Start(kStart).empty());
  queue.Succeeded(first[0]);
  EXPECT_EQ(queue.Start(kStart).size(), 1u);
}

TEST(UnlockQueue, ItsBoundsAreWhatTheSettingsSayNow) {
  UnlockSettings settings;
  UnlockQueue queue(settings);
  for (int i = 0; i < 50; ++i) queue.Want(NewTask(0), kStart);
  settings.concurrency_max = 2;
  EXPECT_EQ(queue.Start(kStart).size(), 2u);
  settings.concurrency_max = 50;
  settings.rate_max = 10;
  EXPECT_EQ(queue.Start(kStart).size(), 8u) << "ten in this second";
  EXPECT_EQ(queue.Start(kStart + seconds(1)).size(), 10u);
}

TEST(UnlockQueue, NoMoreThanTheRateBeginInASecond) {
  UnlockQueue queue(kSettings);
  for (std::size_t i = 0; i < 3 * kSettings.rate_max.Get(); ++i) queue.Want(NewTask(0), kStart);
  const MonotonicTime second = kStart + seconds(10);
  std::size_t begun = 0;
  for (int ms = 0; ms < 1000; ++ms) {
    for (const UnlockQueue::Task& task : queue.Start(second + milliseconds(ms))) {
      ++begun;
      queue.Succeeded(task);
    }
  }
  EXPECT_EQ(begun, kSettings.rate_max.Get());
  EXPECT_FALSE(queue.Start(second + seconds(1)).empty());
}

TEST(UnlockQueue, AFailureIsRetriedLaterAndLater) {
  UnlockQueue queue(kSettings);
  UnlockQueue::Task task = NewTask(1);
  queue.Want(task, kStart);
  ASSERT_EQ(queue.Start(kStart).size(), 1u);
  MonotonicTime now = kStart;
  std::vector<milliseconds> waits;
  for (unsigned failure = 0; failure < 12; ++failure) {
    EXPECT_EQ(queue.Failed(task, now, /*random=*/0), failure + 1);
    milliseconds wait{0};
    while (queue.Start(now + wait).empty()) wait += milliseconds(1);
    waits.push_back(wait);
    now += wait;
  }
  EXPECT_EQ(waits.front(), milliseconds(25));
  EXPECT_EQ(waits[1], milliseconds(50));
  EXPECT_EQ(waits.back(), milliseconds(1000))
      << "so that KMS is not missed for long when it is back";
  EXPECT_TRUE(std::is_sorted(waits.begin(), waits.end()));
}

TEST(UnlockQueue, RetriesAreSpreadOverHalfTheWait) {
  for (std::uint64_t random : {0u, 24u, 25u, 1000003u}) {
    UnlockQueue queue(kSettings);
    UnlockQueue::Task task = NewTask(0);
    queue.Want(task, kStart);
    queue.Start(kStart);
    queue.Failed(task, kStart, random);
    EXPECT_TRUE(queue.Start(kStart + milliseconds(24)).empty());
    EXPECT_EQ(queue.Start(kStart + milliseconds(50)).size(), 1u);
  }
}

// How long a task that has just failed waits.
milliseconds WaitOf(UnlockQueue& queue, MonotonicTime now) {
  milliseconds wait{0};
  while (queue.Start(now + wait).empty()) wait += milliseconds(1);
  return wait;
}

TEST(UnlockQueue, WhatKmsRefusesForGoodIsTriedLessAndLessUntilMinutesLieBetween) {
  for (UnlockCause cause :
       {UnlockCause::kAccessDenied, UnlockCause::kKeyNotFound, UnlockCause::kKeyDisabled,
        UnlockCause::kForeignCiphertext, UnlockCause::kRefused}) {
    UnlockQueue queue(kSettings);
    UnlockQueue::Task task = NewTask(1);
    queue.Want(task, kStart);
    ASSERT_EQ(queue.Start(kStart).size(), 1u);
    MonotonicTime now = kStart;
    std::vector<milliseconds> waits;
    for (int failure = 0; failure < 10; ++failure) {
      queue.Failed(task, now, /*random=*/0, cause);
      queue.Want(task, now);  // callers ask on
      waits.push_back(WaitOf(queue, now));
      now += waits.back();
    }
    EXPECT_EQ(waits.front(), milliseconds(2500));
    EXPECT_EQ(waits[1], milliseconds(5000));
    EXPECT_EQ(waits.back(), seconds(120)) << "at most four minutes with the jitter";
    EXPECT_TRUE(std::is_sorted(waits.begin(), waits.end()));
  }
}

TEST(UnlockQueue, WhatPassesByItselfIsTriedAsOftenAsEverThoughKmsRefusedBefore) {
  for (UnlockCause cause : {UnlockCause::kOther, UnlockCause::kUnavailable, UnlockCause::kThrottled,
                            UnlockCause::kCredentials}) {
    UnlockQueue queue(kSettings);
    UnlockQueue::Task task = NewTask(1);
    queue.Want(task, kStart);
    MonotonicTime now = kStart;
    for (int failure = 0; failure < 8; ++failure) {
      ASSERT_EQ(queue.Start(now).size(), 1u);
      queue.Failed(task, now, 0, UnlockCause::kAccessDenied);
      now += seconds(240);
    }
    ASSERT_EQ(queue.Start(now).size(), 1u);
    queue.Failed(task, now, 0, cause);
    EXPECT_TRUE(queue.Refused(1).empty());
    EXPECT_LE(WaitOf(queue, now), seconds(2));
    queue.Failed(task, now, 0, UnlockCause::kAccessDenied);
    EXPECT_EQ(WaitOf(queue, now), milliseconds(2500)) << "and refusals count from one again";
  }
}

TEST(UnlockQueue, AChangeHasWhatKmsRefusedTriedAtOnceAndNothingElse) {
  UnlockQueue queue(kSettings);
  UnlockQueue::Task refused = NewTask(1);
  UnlockQueue::Task failing = NewTask(1);
  queue.Want(refused, kStart);
  queue.Want(failing, kStart);
  ASSERT_EQ(queue.Start(kStart).size(), 2u);
  queue.Failed(refused, kStart, 0, UnlockCause::kKeyDisabled);
  queue.Failed(failing, kStart, 0, UnlockCause::kUnavailable);
  EXPECT_EQ(queue.Refused(1), (std::map<UnlockCause, std::size_t>{{UnlockCause::kKeyDisabled, 1}}));
  EXPECT_TRUE(queue.Refused(0).empty());
  EXPECT_EQ(queue.CauseOf(refused), UnlockCause::kKeyDisabled);
  EXPECT_EQ(queue.hopeful(1), 1u);
  queue.RetryRefused(kStart + milliseconds(1));
  EXPECT_EQ(queue.Start(kStart + milliseconds(1)), std::vector<UnlockQueue::Task>{refused});
  queue.Succeeded(refused);
  EXPECT_TRUE(queue.Refused(1).empty());
  EXPECT_EQ(queue.CauseOf(refused), UnlockCause::kOther);
}

TEST(UnlockQueue, WhatHasWaitedLongestGoesFirst) {
  UnlockQueue queue(kSettings);
  UnlockQueue::Task early = NewTask(1);
  queue.Want(early, kStart);
  for (int i = 0; i < 10; ++i) queue.Want(NewTask(0), kStart + milliseconds(1));
  std::vector<UnlockQueue::Task> first = queue.Start(kStart + seconds(1));
  ASSERT_EQ(first.size(), kSettings.concurrency_max.Get());
  EXPECT_EQ(first[0], early) << "though the other enclave's come first in order";
  for (const UnlockQueue::Task& task : first) queue.Failed(task, kStart + seconds(1), 0);
  for (const UnlockQueue::Task& task : queue.Start(kStart + seconds(60))) {
    EXPECT_EQ(std::count(first.begin(), first.end(), task), 0) << "the others have their turn";
  }
}

TEST(UnlockQueue, WhatIsGivenUpMayBeWantedAgain) {
  UnlockQueue queue(kSettings);
  UnlockQueue::Task task = NewTask(0);
  queue.Want(task, kStart);
  queue.Start(kStart);
  queue.GaveUp(task);
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_TRUE(queue.Start(kStart + seconds(60)).empty());
  queue.Want(task, kStart);
  EXPECT_EQ(queue.Start(kStart).size(), 1u);
}

TEST(UnlockQueue, ALostEnclavesUnlocksAreForgotten) {
  UnlockQueue queue(kSettings);
  UnlockQueue::Task lost = NewTask(0);
  UnlockQueue::Task kept = NewTask(1);
  queue.Want(lost, kStart);
  queue.Want(kept, kStart);
  queue.Start(kStart);
  queue.Want(NewTask(0), kStart);
  queue.Forget(0);
  queue.Failed(lost, kStart, 0);
  EXPECT_EQ(queue.size(), 1u) << "the running one goes when it ends";
  queue.Succeeded(kept);
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_TRUE(queue.Want(lost, kStart)) << "and may be wanted again";
  EXPECT_EQ(queue.Start(kStart).size(), 1u);
}

TEST(UnlockQueue, AFullQueueRefuses) {
  UnlockQueue queue(kSettings);
  for (std::size_t i = 0; i < UnlockQueue::kTasksMax; ++i) {
    ASSERT_TRUE(queue.Want(NewTask(0), kStart));
  }
  EXPECT_FALSE(queue.Want(NewTask(0), kStart));
}

}  // namespace
}  // namespace bulla
