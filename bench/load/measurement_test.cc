#include "bench/load/measurement.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Measurement, CpuIsAShareOfAllCpus) {
  Measurement measurement{.cpu = {.gateway = milliseconds(500), .enclaves = milliseconds(1000)},
                          .time = seconds(1)};
  EXPECT_DOUBLE_EQ(CpuPercent(measurement, 2), 75);
  EXPECT_DOUBLE_EQ(CpuPercent(Measurement{}, 2), 0);
}

TEST(Measurement, LostIsWhateverGotNoSignature) {
  Measurement measurement;
  measurement.load.requests = 1000;
  measurement.load.failed = 3;
  measurement.load.dropped = 1;
  measurement.load.malformed = 1;
  EXPECT_DOUBLE_EQ(LostPercent(measurement), 0.5);
  EXPECT_DOUBLE_EQ(LostPercent(Measurement{}), 0);
}

TEST(Measurement, TheQueueIsTheMeanOfWhatWasSeen) {
  Measurement measurement;
  EXPECT_FALSE(MeanQueueDepth(measurement));
  measurement.samples = {{.queue_depth = 1}, {}, {.queue_depth = 2}};
  EXPECT_DOUBLE_EQ(*MeanQueueDepth(measurement), 1.5);
}

TEST(Measurement, CostsAndCrossingsAreBySignature) {
  Measurement measurement{.verification = {.right = 80, .warm_up_right = 20},
                          .cpu = {.gateway = milliseconds(1), .enclaves = milliseconds(3)},
                          .signatures = 40};
  EXPECT_DOUBLE_EQ(CpuUsPerSignature(measurement), 100);
  EXPECT_FALSE(CrossingsPerSignature(measurement));
  measurement.samples = {{}, {.crossings = 50}};
  EXPECT_FALSE(CrossingsPerSignature(measurement));
  measurement.samples = {{}, {.crossings = 50}, {.crossings = 60}, {.crossings = 70}};
  EXPECT_DOUBLE_EQ(*CrossingsPerSignature(measurement), 0.2);
}

}  // namespace
}  // namespace bulla
