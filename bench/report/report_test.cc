#include "bench/report/report.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const RunDescription kRun{.url = "http://127.0.0.1:8080",
                          .traffic = {.connections = 3},
                          .rate_per_s = 50,
                          .keys = 2,
                          .warm_up = seconds(1),
                          .duration = seconds(2),
                          .seed = 0xffffffffffffffff};

// 100 due: 97 answered in 1, 2, ... 97 ms, two refused, one dropped.
LoadResult Result() {
  LoadResult result;
  result.requests = 100;
  result.failed = 2;
  result.dropped = 1;
  result.errors["RETRY_LATER"] = 2;
  result.failed_latency.Record(milliseconds(3));
  result.failed_latency.Record(milliseconds(4));
  result.first_error = "later";
  for (int ms = 1; ms <= 97; ++ms) result.latency.Record(milliseconds(ms));
  result.measured = seconds(2);
  return result;
}

boost::json::object Json(const LoadResult& result, const Verification& verification) {
  return boost::json::parse(JsonReport(kRun, result, verification)).as_object();
}

TEST(Report, JsonCarriesTheFiguresUnderTheirNames) {
  boost::json::object json = Json(Result(), {.right = 97});
  EXPECT_EQ(json["mode"], "open");
  EXPECT_EQ(json["requests"], 100);
  EXPECT_EQ(json["failed"], 2);
  EXPECT_EQ(json["dropped"], 1);
  EXPECT_EQ(json["verified"], 97);
  EXPECT_EQ(json["wrong"], 0);
  EXPECT_EQ(json["seed"], "18446744073709551615");
  EXPECT_EQ(json["errors"].as_object()["RETRY_LATER"], 2);
  EXPECT_DOUBLE_EQ(json["rate_per_s"].as_double(), 48.5);
  EXPECT_DOUBLE_EQ(json["mean_ms"].as_double(), 49);
  EXPECT_NEAR(json["p50_ms"].as_double(), 49, 0.05);
  EXPECT_NEAR(json["p99_ms"].as_double(), 97, 0.1);
  EXPECT_DOUBLE_EQ(json["max_ms"].as_double(), 97);
  EXPECT_NEAR(json["failed_p50_ms"].as_double(), 3, 0.01);
  EXPECT_DOUBLE_EQ(json["failed_max_ms"].as_double(), 4);
}

TEST(Report, TheRateIsOfTheWholeTimeItTook) {
  LoadResult late = Result();
  late.measured = seconds(4);
  EXPECT_DOUBLE_EQ(Json(late, {})["rate_per_s"].as_double(), 24.25);
  LoadResult silent = Result();
  silent.measured = milliseconds(100);  // and then nothing came any more
  EXPECT_DOUBLE_EQ(Json(silent, {})["rate_per_s"].as_double(), 48.5);
}

TEST(Report, TextNamesErrorsAndTheFirstWrongSignature) {
  std::string text = TextReport(kRun, Result(), {.wrong = 1, .first_wrong = "request 7"});
  EXPECT_NE(text.find("RETRY_LATER"), std::string::npos) << text;
  EXPECT_NE(text.find("first error: later"), std::string::npos) << text;
  EXPECT_NE(text.find("WRONG: request 7"), std::string::npos) << text;
}

}  // namespace
}  // namespace bulla
