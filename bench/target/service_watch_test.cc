#include "bench/target/service_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace bulla {
namespace {

TEST(SumOfMetric, AddsTheSeriesOfThatNameAlone) {
  constexpr std::string_view kMetrics =
      "# HELP engine_q_depth Jobs\n"
      "# TYPE engine_q_depth gauge\n"
      "engine_q_depth{enclave=\"1\"} 2\n"
      "engine_q_depth{enclave=\"2 x\"} 0.5\n"
      "engine_q_depth_max{enclave=\"1\"} 100\n"
      "other 7";
  EXPECT_EQ(SumOfMetric(kMetrics, "engine_q_depth"), 2.5);
  EXPECT_EQ(SumOfMetric(kMetrics, "other"), 7);
  EXPECT_EQ(SumOfMetric(kMetrics, "engine"), std::nullopt);
  EXPECT_EQ(SumOfMetric("", "engine_q_depth"), std::nullopt);
  EXPECT_EQ(SumOfMetric("x y\nx \nx 1z\n", "x"), std::nullopt);
}

TEST(MachineTime, OnlyWhatPassedBetweenCounts) {
  EXPECT_DOUBLE_EQ(BusyPercent({100, 1000}, {150, 1200}), 25);
  EXPECT_DOUBLE_EQ(BusyPercent({100, 1000}, {100, 1000}), 0);
  MachineTime now = MachineTimeNow();
  EXPECT_GT(now.busy, 0u);
  EXPECT_GT(now.all, now.busy);
}

TEST(ServiceWatch, LooksWhenItBeginsAndWhenItEnds) {
  RealClock clock;
  Service service{.admin = "127.0.0.1:1", .gateway = ::getpid(), .enclaves = {::getpid()}};
  std::vector<WatchSample> samples = ServiceWatch(service, clock).EndBlocking();
  ASSERT_GE(samples.size(), 2u);
  EXPECT_GT(samples.front().gateway_bytes, 0u);
  EXPECT_GT(samples.back().enclave_bytes, 0u);
  EXPECT_FALSE(samples.front().queue_depth);  // nobody listens there
}

}  // namespace
}  // namespace bulla
