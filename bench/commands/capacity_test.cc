#include "bench/commands/capacity.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace bulla {
namespace {

// The result of a search on a service that holds what is below `capacity`; `tries` counts.
double Search(double capacity, double first, double highest, int* tries = nullptr) {
  CapacitySearch search(first, highest);
  for (int i = 0; i < 1000; ++i) {
    std::optional<double> rate = search.Next();
    if (!rate) return search.held_per_s();
    if (tries != nullptr) ++*tries;
    search.Record(*rate <= capacity);
  }
  ADD_FAILURE() << "the search does not end";
  return 0;
}

TEST(CapacitySearch, FindsTheCapacityToItsResolutionFromBelowAndFromAbove) {
  for (double capacity : {10.0, 999.0, 1000.0, 12'345.0, 99'000.0}) {
    for (double first : {10.0, 1000.0, 50'000.0}) {
      double held = Search(capacity, first, 1e6);
      EXPECT_LE(held, capacity) << first;
      // Rates are whole: below 20 a second a step is more than the resolution.
      EXPECT_GE(held, capacity / (1 + CapacitySearch::kResolution) - 1) << first;
    }
  }
}

TEST(CapacitySearch, EndsWhenNothingHoldsAndWhenEverythingDoes) {
  EXPECT_EQ(Search(0, 1000, 1e6), 0);
  EXPECT_LE(Search(1e9, 1000, 5000), 5000);
  EXPECT_GE(Search(1e9, 1000, 5000), 5000 / CapacitySearch::kStep);
}

TEST(CapacitySearch, OneBadStepIsTriedAgain) {
  CapacitySearch search(1000, 1e6);
  search.Record(false);
  EXPECT_EQ(search.Next(), 1000);
  search.Record(true);
  EXPECT_EQ(search.held_per_s(), 1000);
  EXPECT_EQ(search.Next(), 1500);
  search.Record(false);
  search.Record(false);
  EXPECT_EQ(search.Next(), 1250);
}

TEST(CapacitySearch, TakesFewSteps) {
  int tries = 0;
  Search(12'345, 1000, 1e6, &tries);
  EXPECT_LE(tries, 20);
}

TEST(Capacity, AStepIsBrokenByWhatReachesItsLimit) {
  CapacityStep step{.achieved_per_s = 1, .p99_ms = 9.9, .lost_percent = 0.4, .cpu_percent = 74};
  EXPECT_EQ(BrokenBy(step, {}), "");
  step.p99_ms = 10;
  EXPECT_EQ(BrokenBy(step, {}), "p99");
  step.lost_percent = 0.5;
  step.cpu_percent = 75;
  EXPECT_EQ(BrokenBy(step, {}), "p99, lost, CPU");
  EXPECT_EQ(BrokenBy({}, {}), "no answers");
}

TEST(Capacity, TheReportSaysWhatHeld) {
  CapacityReport report{.machine = ThisMachine(),
                        .steps = {{.rate_per_s = 1000, .achieved_per_s = 1000, .p99_ms = 2},
                                  {.rate_per_s = 1500, .achieved_per_s = 1500, .p99_ms = 20}},
                        .held_per_s = 1000};
  boost::json::object json = boost::json::parse(CapacityJson(report)).as_object();
  EXPECT_EQ(json["capacity_per_s"].as_double(), 1000);
  EXPECT_TRUE(json["steps"].as_array()[0].as_object()["held"].as_bool());
  EXPECT_FALSE(json["steps"].as_array()[1].as_object()["held"].as_bool());
  std::string text = CapacityText(report);
  EXPECT_NE(text.find("broke: p99"), std::string::npos) << text;
  EXPECT_NE(text.find("1000 signatures per second held"), std::string::npos) << text;
}

}  // namespace
}  // namespace bulla
