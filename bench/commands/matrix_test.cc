#include "bench/commands/matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace bulla {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Matrix, HasACellForEachCombination) {
  std::vector<MatrixCell> cells = CellsOf(3, {"on", "off"}, {"recompute", "verify", "none"});
  ASSERT_EQ(cells.size(), 18u);
  EXPECT_EQ(cells.front().workers, 1);
  EXPECT_EQ(cells.back().workers, 3);
  EXPECT_EQ(cells.back().batching, "off");
  EXPECT_EQ(cells.back().signature_check, "none");
}

TEST(Matrix, ACellIsTheServiceWithItsSettings) {
  ServiceOptions base{.enclaves = 2, .dev_arguments = {"--more"}};
  ServiceOptions on = OptionsOf({.workers = 3, .signature_check = "verify"}, base);
  EXPECT_EQ(on.enclaves, 2);
  EXPECT_THAT(on.dev_arguments, ElementsAre("--more", "--workers", "3", "--batching", "on",
                                            "--signature-check", "verify"));
  ServiceOptions off = OptionsOf({.batching = "off", .signature_check = "none"}, {});
  EXPECT_THAT(off.dev_arguments,
              ElementsAre("--workers", "1", "--batching", "off", "--signature-check", "none"));
}

TEST(Matrix, TheReportHasARowForEachCellThoseThatFailedToo) {
  MatrixReport report{
      .machine = ThisMachine(),
      .commit = "abc",
      .rows = {
          {.cell = {.signature_check = "none"}, .cpu_us = 60, .stock_us = 40, .queue_depth = 0.5},
          {.cell = {.workers = 2}, .failure = "it did not start"}}};
  boost::json::object json = boost::json::parse(MatrixJson(report)).as_object();
  EXPECT_EQ(json["commit"], "abc");
  boost::json::array& rows = json["rows"].as_array();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_DOUBLE_EQ(rows[0].as_object()["cost_ratio"].as_double(), 1.5);
  EXPECT_TRUE(rows[0].as_object()["crossings_per_signature"].is_null());
  EXPECT_EQ(rows[1].as_object()["failure"], "it did not start");
  EXPECT_THAT(MatrixText(report), HasSubstr("it did not start"));
  EXPECT_THAT(MatrixText(report), HasSubstr("1.50"));
}

TEST(ReportName, CarriesDateAndCommit) {
  WallTime time = std::chrono::system_clock::from_time_t(1'795'383'000);
  EXPECT_EQ(ReportName(time, "matrix", "0123"), "2026-11-22-2130-matrix-0123");
  EXPECT_EQ(Iso8601(time), "2026-11-22T21:30:00Z");
}

}  // namespace
}  // namespace bulla
