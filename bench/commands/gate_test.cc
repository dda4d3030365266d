#include "bench/commands/gate.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// All just below the limits, on two CPUs.
Measurement Good() {
  Measurement measurement{.run = {.rate_per_s = 1000},
                          .cpu = {.gateway = milliseconds(490), .enclaves = milliseconds(1000)},
                          .time = seconds(1),
                          .samples = {{.queue_depth = 0}, {.queue_depth = 1.9}}};
  measurement.load.requests = 1000;
  measurement.load.dropped = 4;
  for (int i = 0; i < 987; ++i) measurement.load.latency.Record(milliseconds(9));
  for (int i = 0; i < 9; ++i) measurement.load.latency.Record(milliseconds(900));
  return measurement;
}

bool Passes(const Measurement& measurement) { return AllMet(Judge(measurement, {}, 2)); }

TEST(Gate, IsPassedBelowAllLimits) { EXPECT_TRUE(Passes(Good())); }

TEST(Gate, EachCriterionAloneMissesIt) {
  Measurement slow = Good();
  for (int i = 0; i < 9; ++i) slow.load.latency.Record(milliseconds(900));
  EXPECT_FALSE(Passes(slow));
  Measurement failing = Good();
  failing.load.failed = 1;
  EXPECT_FALSE(Passes(failing));
  Measurement busy = Good();
  busy.cpu.gateway = milliseconds(500);
  EXPECT_FALSE(Passes(busy));
  Measurement queued = Good();
  queued.samples[0].queue_depth = 0.1;
  EXPECT_FALSE(Passes(queued));
}

TEST(Gate, WhatIsNotKnownIsNotMet) {
  Measurement unwatched = Good();
  unwatched.samples.clear();
  EXPECT_FALSE(Passes(unwatched));
  Measurement silent = Good();
  silent.load.latency.Clear();
  EXPECT_FALSE(Passes(silent));
}

TEST(Gate, MemoryIsOfTheBeginningEachMinuteAndTheEnd) {
  std::vector<WatchSample> samples;
  for (int s = 0; s <= 130; ++s) samples.push_back({.at = seconds(s) + milliseconds(s)});
  std::vector<WatchSample> chosen = MemoryByMinute(samples);
  ASSERT_EQ(chosen.size(), 4u);
  EXPECT_EQ(chosen[1].at, milliseconds(60'060));
  EXPECT_EQ(chosen[2].at, milliseconds(120'120));
  EXPECT_EQ(chosen[3].at, milliseconds(130'130));
  EXPECT_TRUE(MemoryByMinute({}).empty());
}

TEST(Gate, TheReportHasEachCriterionWithItsFigure) {
  GateReport report{.machine = ThisMachine(), .measurement = Good()};
  report.measurement.load.failed = 1;
  report.criteria = Judge(report.measurement, {}, 2);
  boost::json::object json = boost::json::parse(GateJson(report)).as_object();
  EXPECT_FALSE(json["passed"].as_bool());
  EXPECT_EQ(json["requests"], 1000);
  EXPECT_DOUBLE_EQ(json["lost_percent"].as_double(), 0.5);
  EXPECT_DOUBLE_EQ(json["engine_q_depth"].as_double(), 0.95);
  EXPECT_EQ(json["criteria"].as_array().size(), 4u);
  EXPECT_EQ(json["memory"].as_array().size(), 1u);
  std::string text = GateText(report);
  EXPECT_NE(text.find("MISSED  lost_percent"), std::string::npos) << text;
  EXPECT_NE(text.find("met     p99_ms"), std::string::npos) << text;
}

}  // namespace
}  // namespace bulla
