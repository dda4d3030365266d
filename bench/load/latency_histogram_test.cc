#include "bench/load/latency_histogram.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <vector>

#include "base/random.h"

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

std::mt19937_64 SeededRandom() {
  const char* given = std::getenv("BULLA_TEST_SEED");  // NOLINT(concurrency-mt-unsafe)
  std::uint64_t seed = given != nullptr ? std::stoull(given) : RandomUint64();
  testing::Test::RecordProperty("seed", std::to_string(seed));
  std::printf("BULLA_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return std::mt19937_64(seed);
}

// What Quantile is to find, from the samples themselves.
Duration TrueQuantile(const std::vector<Duration>& sorted, double share) {
  double rank = std::ceil(share * static_cast<double>(sorted.size()));
  std::size_t index = static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
  return sorted[std::min(index, sorted.size() - 1)];
}

// `found` is at least `wanted`, and more than it by at most one step and one unit.
void ExpectClose(Duration found, Duration wanted) {
  EXPECT_GE(found, wanted);
  EXPECT_LE(found - wanted, wanted / 1000 + LatencyHistogram::kUnit);
}

TEST(LatencyHistogram, IsZeroWhenEmpty) {
  LatencyHistogram empty;
  EXPECT_EQ(empty.count(), 0u);
  EXPECT_EQ(empty.max(), Duration::zero());
  EXPECT_EQ(empty.Mean(), Duration::zero());
  for (double share : {0.0, 0.5, 1.0}) EXPECT_EQ(empty.Quantile(share), Duration::zero());
}

TEST(LatencyHistogram, EveryMicrosecondUpToFourMillisecondsIsKnownToAStep) {
  for (int us = 0; us <= 4096; ++us) {
    LatencyHistogram one;
    one.Record(microseconds(us));
    one.Record(hours(1));  // so that the maximum does not hide the step
    Duration found = one.Quantile(0.5);
    if (us < 2048) {
      EXPECT_EQ(found, microseconds(us));
    }
    ExpectClose(found, microseconds(us));
  }
}

TEST(LatencyHistogram, TheEdgesOfEveryPowerOfTwoAreKnownToAStep) {
  for (std::int64_t power = 1; power <= 60'000'000; power *= 2) {
    for (std::int64_t us : {power - 1, power, power + 1}) {
      LatencyHistogram one;
      one.Record(microseconds(us));
      one.Record(hours(1));
      ExpectClose(one.Quantile(0.5), microseconds(us));
    }
  }
}

TEST(LatencyHistogram, AFractionOfAUnitIsRoundedUp) {
  LatencyHistogram histogram;
  histogram.Record(nanoseconds(1));
  histogram.Record(nanoseconds(1001));
  histogram.Record(seconds(1));
  EXPECT_EQ(histogram.Quantile(0.3), microseconds(1));
  EXPECT_EQ(histogram.Quantile(0.6), microseconds(2));
}

TEST(LatencyHistogram, NegativeCountsAsZero) {
  LatencyHistogram histogram;
  histogram.Record(-seconds(1));
  EXPECT_EQ(histogram.count(), 1u);
  EXPECT_EQ(histogram.max(), Duration::zero());
  EXPECT_EQ(histogram.Mean(), Duration::zero());
}

TEST(LatencyHistogram, BeyondTheRangeTheMaximumIsExact) {
  for (Duration beyond :
       {LatencyHistogram::kHighest, LatencyHistogram::kHighest + Duration(1), Duration(hours(5))}) {
    LatencyHistogram histogram;
    histogram.Record(milliseconds(1));
    histogram.Record(beyond);
    EXPECT_EQ(histogram.max(), beyond);
    EXPECT_EQ(histogram.Quantile(1.0), beyond);
    EXPECT_EQ(histogram.Quantile(0.5), milliseconds(1));
  }
}

TEST(LatencyHistogram, QuantilesMatchThoseOfTheSortedSamples) {
  std::mt19937_64 random = SeededRandom();
  for (int round = 0; round < 50; ++round) {
    // Log-normal, as latencies are; rounds differ in number, middle and spread.
    std::uniform_int_distribution<std::size_t> sizes(1, 5000);
    std::uniform_real_distribution<double> middles(0.0, 14.0);
    std::uniform_real_distribution<double> spreads(0.1, 2.0);
    std::lognormal_distribution<double> draw(middles(random), spreads(random));
    std::vector<Duration> samples(sizes(random));
    LatencyHistogram histogram;
    Duration sum{};
    for (Duration& sample : samples) {
      double us = std::min(draw(random), 59'000'000.0);
      sample = nanoseconds(static_cast<std::int64_t>(us * 1000));
      histogram.Record(sample);
      sum += sample;
    }
    std::sort(samples.begin(), samples.end());
    for (double share : {0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
      SCOPED_TRACE(share);
      ExpectClose(histogram.Quantile(share), TrueQuantile(samples, share));
    }
    EXPECT_EQ(histogram.count(), samples.size());
    EXPECT_EQ(histogram.max(), samples.back());
    EXPECT_EQ(histogram.Mean(), sum / static_cast<Duration::rep>(samples.size()));
  }
}

TEST(LatencyHistogram, ClearedIsAsNew) {
  LatencyHistogram histogram;
  histogram.Record(microseconds(7));
  histogram.Clear();
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.Quantile(1.0), Duration::zero());
}

}  // namespace
}  // namespace bulla
