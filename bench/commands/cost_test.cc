#include "bench/commands/cost.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace bulla {
namespace {

CostRound Round(double gateway_us, double enclave_us, double stock_us) {
  return {.gateway_us = gateway_us, .enclave_us = enclave_us, .stock_us = stock_us};
}

TEST(Cost, TheMedianIsByRatioAndNotByTime) {
  // A machine that is slow for a while is slow for the stock library too.
  std::vector<CostRound> rounds{Round(20, 40, 40), Round(200, 400, 500), Round(30, 40, 40)};
  EXPECT_DOUBLE_EQ(MedianRound(rounds).ratio(), 1.5);
  rounds.push_back(Round(10, 10, 10));
  EXPECT_DOUBLE_EQ(MedianRound(rounds).ratio(), 1.5);  // of four the lower of the middle
  EXPECT_DOUBLE_EQ(MedianRound({Round(1, 1, 4)}).ratio(), 0.5);
}

TEST(Cost, JsonHasARatioForEachPhaseAndItsPartsAgree) {
  CostReport report{
      .machine = {.cpu_model = "a CPU", .cpus = 2}, .stock_library = "/lib/x", .phases = {}};
  for (CostPhase phase : kCostPhases) report.phases.push_back({phase, {Round(10, 20, 25)}});
  boost::json::object json = boost::json::parse(CostJson(report)).as_object();
  for (const char* name : {"http", "http_unverified", "stream", "stream_unverified"}) {
    EXPECT_DOUBLE_EQ(json[std::string("cost_ratio_") + name].as_double(), 1.2) << name;
    boost::json::object& parts = json[name].as_object();
    EXPECT_DOUBLE_EQ(parts["sum_us"].as_double(), 30);
    EXPECT_DOUBLE_EQ(parts["stock_us"].as_double(), 25);
  }
  EXPECT_EQ(json["stock_library"], "/lib/x");
  EXPECT_EQ(json["machine"].as_object()["cpus"], 2);
}

TEST(Cost, TextHasALineForEachPhase) {
  CostReport report{.machine = ThisMachine(), .phases = {{CostPhase::kHttp, {Round(10, 20, 25)}}}};
  std::string text = CostText(report);
  EXPECT_NE(text.find("\nhttp "), std::string::npos) << text;
  EXPECT_NE(text.find("1.20"), std::string::npos) << text;
}

TEST(Machine, IsNoted) {
  Machine machine = ThisMachine();
  EXPECT_GE(machine.cpus, 1u);
  EXPECT_FALSE(machine.kernel.empty());
  EXPECT_FALSE(machine.cpu_model.empty());
}

}  // namespace
}  // namespace bulla
