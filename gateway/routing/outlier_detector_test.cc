#include "gateway/routing/outlier_detector.h"

#include <gtest/gtest.h>
#include <memory>
#include <vector>

namespace bulla {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTick{10};

class OutlierDetectorTest : public testing::Test {
 protected:
  void Make(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      detectors_.push_back(std::make_unique<OutlierDetector>(now_));
      serves_.push_back(true);
      fails_.push_back(false);
    }
  }

  // Time passes. Each signs all the while, or fails to; on trial, what it takes.
  void Run(Duration time) {
    for (const MonotonicTime end = now_ + time; now_ < end;) {
      now_ += kTick;
      std::vector<OutlierDetector::Judged> all;
      for (std::size_t i = 0; i < detectors_.size(); ++i) {
        std::uint64_t signatures = 0;
        while (answers_trials_ && signatures < 10 && detectors_[i]->TryAdmit()) ++signatures;
        detectors_[i]->Observe(now_, fails_[i] ? 0 : signatures, fails_[i] ? signatures : 0, 0);
        all.push_back({detectors_[i].get(), serves_[i]});
      }
      OutlierDetector::Judge(all, now_);
    }
  }
  std::vector<std::size_t> Ejected() const {
    std::vector<std::size_t> ejected;
    for (std::size_t i = 0; i < detectors_.size(); ++i) {
      if (detectors_[i]->ejected()) ejected.push_back(i);
    }
    return ejected;
  }
  std::uint64_t Taken(std::size_t i) {
    std::uint64_t taken = 0;
    while (taken < 100 && detectors_[i]->TryAdmit()) ++taken;
    return taken;
  }

  MonotonicTime now_{std::chrono::hours(1)};
  std::vector<std::unique_ptr<OutlierDetector>> detectors_;
  std::vector<bool> serves_;
  std::vector<bool> fails_;
  bool answers_trials_ = true;
};

using Indices = std::vector<std::size_t>;

TEST_F(OutlierDetectorTest, OneThatFailsIsEjectedAndReturnsAfterATrial) {
  Make(2);
  Run(milliseconds(500));
  EXPECT_EQ(Ejected(), Indices());
  fails_[1] = true;
  Run(milliseconds(500));
  EXPECT_EQ(Ejected(), Indices({1}));
  EXPECT_EQ(Taken(0), 100u);
  fails_[1] = false;
  Run(2 * CircuitBreaker::kOpenMax);
  EXPECT_EQ(Ejected(), Indices());
}

TEST_F(OutlierDetectorTest, AnEjectedOneTakesNothingAndOneOnTrialAFew) {
  Make(2);
  fails_[1] = true;
  Run(milliseconds(250));
  ASSERT_EQ(Ejected(), Indices({1}));
  EXPECT_EQ(Taken(1), 0u);
  answers_trials_ = false;  // none of the trials comes to an end
  Run(CircuitBreaker::kOpenMax);
  EXPECT_EQ(Taken(1), CircuitBreaker::kTrials);
  EXPECT_EQ(Taken(1), 0u);
  Run(OutlierDetector::kTrialMax - kTick);
  EXPECT_EQ(Ejected(), Indices({1}));
  Run(2 * kTick);
  EXPECT_EQ(Taken(1), CircuitBreaker::kTrials) << "given anew";
}

TEST_F(OutlierDetectorTest, NotMoreThanHalfOfThoseInServiceAreEjected) {
  Make(5);
  fails_.assign(5, true);
  Run(milliseconds(500));
  EXPECT_EQ(Ejected(), Indices({0, 1})) << "those that were first";
}

TEST_F(OutlierDetectorTest, TheOnlyOneIsNotEjected) {
  Make(1);
  fails_[0] = true;
  Run(milliseconds(500));
  EXPECT_EQ(Ejected(), Indices());
}

TEST_F(OutlierDetectorTest, WhenOthersAreLostTheOneEjectedLongestReturns) {
  Make(4);
  fails_[2] = true;
  Run(milliseconds(200));
  fails_[1] = true;
  Run(milliseconds(200));
  ASSERT_EQ(Ejected(), Indices({1, 2}));
  serves_[0] = false;
  Run(kTick);
  EXPECT_EQ(Ejected(), Indices({1}));
}

}  // namespace
}  // namespace bulla
