#include "base/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bulla {
namespace {

using testing::HasSubstr;

prometheus::MetricFamily Family(const std::string& name, double value) {
  prometheus::ClientMetric metric;
  metric.label = {{"enclave", "unix:/e0"}};
  metric.gauge.value = value;
  return {.name = name, .help = "help", .type = prometheus::MetricType::Gauge, .metric = {metric}};
}

TEST(Metrics, ASourceIsAskedAtEachExpositionBesideWhatIsCountedHere) {
  Metrics metrics;
  metrics.AddCounter("counted_here_total", "help").Increment();
  double value = 1;
  metrics.AddSource([&] { return std::vector{Family("counted_elsewhere", value)}; });
  metrics.AddSource([] { return std::vector{Family("another", 5)}; });
  std::string text = metrics.Exposition();
  EXPECT_THAT(text, HasSubstr("\ncounted_here_total 1\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE counted_elsewhere gauge\n"));
  EXPECT_THAT(text, HasSubstr("\ncounted_elsewhere{enclave=\"unix:/e0\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\nanother{enclave=\"unix:/e0\"} 5\n"));
  value = 2;
  text = metrics.Exposition();
  EXPECT_THAT(text, HasSubstr("\ncounted_elsewhere{enclave=\"unix:/e0\"} 2\n"));
}

TEST(Metrics, ASourceWithoutFamiliesLeavesNoTrace) {
  Metrics metrics;
  metrics.AddSource([] { return std::vector<prometheus::MetricFamily>(); });
  EXPECT_EQ(metrics.Exposition(), "");
}

}  // namespace
}  // namespace bulla
