#include "bench/report/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <regex>

#include "bench/report/html.h"
#include "bench/report/markdown.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

RunDescription Run(double rate_per_s) {
  RunDescription run;
  run.url = "http://127.0.0.1:8080";
  run.rate_per_s = rate_per_s;
  run.keys = 2;
  run.warm_up = seconds(1);
  run.duration = seconds(2);
  run.seed = 7;
  return run;
}

// 1000 answered in 1, 2, ... 1000 ms, two refused.
LoadResult Result() {
  LoadResult result;
  result.requests = 1002;
  result.failed = 2;
  for (int ms = 1; ms <= 1000; ++ms) result.latency.Record(milliseconds(ms));
  result.measured = seconds(2);
  return result;
}

RunSecond Second(int at, int p99_ms, bool warm_up = false) {
  return {.from = seconds(at - 1),
          .at = seconds(at),
          .rate_per_s = 100.0 * at,
          .p50 = milliseconds(1),
          .p99 = milliseconds(p99_ms),
          .failed = static_cast<std::uint64_t>(at),
          .warm_up = warm_up};
}

ReportPage Page(const LoadResult& result, const Verification& verification,
                std::vector<RunSecond> run_seconds = {Second(1, 90, true), Second(2, 5),
                                                      Second(3, 8)}) {
  return PageOf({.call = "POST /sign", .traffic = "64 connections"}, Run(500), result, verification,
                std::move(run_seconds));
}

std::string FigureNamed(const std::vector<ReportFigure>& figures, std::string_view name) {
  for (const ReportFigure& figure : figures) {
    if (figure.name == name) return figure.value;
  }
  return "none";
}

TEST(ReportPage, CarriesTheFiguresOfTheRun) {
  ReportPage page = Page(Result(), {.right = 1000, .warm_up_right = 5});
  EXPECT_EQ(page.title, "POST /sign at http://127.0.0.1:8080");
  EXPECT_EQ(FigureNamed(page.counts, "requests"), "1002");
  EXPECT_EQ(FigureNamed(page.counts, "failed"), "2");
  EXPECT_EQ(FigureNamed(page.counts, "rate"), "500.0");
  EXPECT_EQ(FigureNamed(page.latencies, "p99"), "990 ms");
  EXPECT_EQ(FigureNamed(page.latencies, "max"), "1000 ms");
  EXPECT_EQ(page.verdict, "All 1005 signatures were checked and are right.");
  EXPECT_TRUE(page.right);
}

TEST(ReportPage, PercentilesRiseToTheMaximumAndNoFurtherThanTheCountTells) {
  std::vector<PercentilePoint> points = Page(Result(), {}).percentiles;
  ASSERT_GT(points.size(), 2u);
  EXPECT_EQ(points.front().share, 0);
  EXPECT_EQ(points.back().latency, milliseconds(1000));
  EXPECT_NEAR(points.back().share, 0.999, 1e-9);
  for (std::size_t i = 1; i < points.size(); ++i) {
    EXPECT_GT(points[i].share, points[i - 1].share);
    EXPECT_GE(points[i].latency, points[i - 1].latency);
  }
}

TEST(ReportPage, AWrongSignatureIsTheVerdict) {
  ReportPage page = Page(Result(), {.right = 999, .wrong = 1, .first_wrong = "request 7"});
  EXPECT_FALSE(page.right);
  EXPECT_THAT(page.verdict, HasSubstr("WRONG"));
  EXPECT_THAT(RenderHtml(page), HasSubstr("request 7"));
  EXPECT_THAT(RenderMarkdown(page), HasSubstr("request 7"));
}

TEST(ReportPage, AnswersThatMakeNoSenseAreNotCalledRight) {
  LoadResult result = Result();
  result.malformed = 3;
  EXPECT_FALSE(Page(result, {}).right);
  EXPECT_THAT(Page(result, {}).verdict, HasSubstr("3 answers"));
}

TEST(SecondOf, TakesTheRateOfItsInterval) {
  LatencyHistogram latency;
  for (int i = 0; i < 300; ++i) latency.Record(milliseconds(4));
  RunSecond second = SecondOf({.since_start = seconds(9),
                               .interval = seconds(2),
                               .latency = latency,
                               .failed = 3,
                               .warm_up = true});
  EXPECT_EQ(second.from, seconds(7));
  EXPECT_EQ(second.at, seconds(9));
  EXPECT_DOUBLE_EQ(second.rate_per_s, 150);
  EXPECT_EQ(second.p99, milliseconds(4));
  EXPECT_EQ(second.failed, 3u);
}

TEST(ReportPage, ASecondWithSomeWarmUpInItIsNoneOfTheMeasured) {
  // One second of warm-up. The third report came late.
  RunSecond late = Second(3, 9);
  late.from = milliseconds(999);
  ReportPage page = Page(Result(), {}, {Second(1, 1), Second(2, 1), late});
  EXPECT_TRUE(page.seconds[0].warm_up);
  EXPECT_FALSE(page.seconds[1].warm_up);
  EXPECT_TRUE(page.seconds[2].warm_up);
}

TEST(Thinned, LeavesAFewAsTheyAre) {
  EXPECT_EQ(Thinned({}, 2).size(), 0u);
  EXPECT_EQ(Thinned({Second(1, 1), Second(2, 2)}, 2).size(), 2u);
}

TEST(Thinned, KeepsTheWorstLatencyAndTheMeanRate) {
  std::vector<RunSecond> thinned =
      Thinned({Second(1, 50, true), Second(2, 9), Second(3, 2), Second(4, 3), Second(5, 4)}, 3);
  ASSERT_EQ(thinned.size(), 3u);
  EXPECT_TRUE(thinned[0].warm_up);
  EXPECT_EQ(thinned[0].p99, milliseconds(50));
  EXPECT_EQ(thinned[1].p99, milliseconds(9));
  EXPECT_DOUBLE_EQ(thinned[1].rate_per_s, 300);
  EXPECT_EQ(thinned[1].from, seconds(1));
  EXPECT_EQ(thinned[1].at, seconds(4));
  EXPECT_EQ(thinned[1].failed, 4u);
  EXPECT_EQ(thinned[2].at, seconds(5));
}

TEST(Thinned, IsNeverLongerThanAsked) {
  for (int count : {3, 10, 900}) {
    for (int length : {4, 100, 901, 5000}) {
      for (int warm_up : {0, 1, 2, 7}) {
        std::vector<RunSecond> all;
        for (int i = 1; i <= length; ++i) all.push_back(Second(i, i, i <= warm_up));
        std::vector<RunSecond> thinned = Thinned(all, static_cast<std::size_t>(count));
        EXPECT_LE(thinned.size(), static_cast<std::size_t>(count)) << length << " " << warm_up;
        EXPECT_EQ(thinned.back().at, all.back().at);
        EXPECT_EQ(thinned.back().p99, all.back().p99);
      }
    }
  }
}

TEST(WorstSecond, LeavesTheWarmUpOut) {
  EXPECT_EQ(WorstSecond({Second(1, 90, true), Second(2, 5), Second(3, 8)})->at, seconds(3));
  EXPECT_FALSE(WorstSecond({Second(1, 90, true)}));
}

TEST(MsText, HasTheDigitsThatMeanSomething) {
  EXPECT_EQ(MsText(std::chrono::microseconds(1234)), "1.234 ms");
  EXPECT_EQ(MsText(std::chrono::microseconds(12'340)), "12.3 ms");
  EXPECT_EQ(MsText(milliseconds(1234)), "1234 ms");
}

// What the service wrote goes into the report; it must stay text there.
ReportPage HostilePage() {
  LoadResult result = Result();
  result.first_error = "<script>alert(1)</script>\n# heading | `code` [a](b)\x01";
  return Page(result, {});
}

TEST(RenderHtml, WhatTheServiceWroteStaysText) {
  std::string html = RenderHtml(HostilePage());
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

TEST(RenderMarkdown, WhatTheServiceWroteStaysText) {
  std::string text = RenderMarkdown(HostilePage());
  EXPECT_THAT(text, HasSubstr(R"(\<script\>alert(1)\</script\> \# heading \| \`code\` \[a\](b) )"));
  EXPECT_THAT(text, Not(HasSubstr("\n#  heading")));
}

TEST(RenderHtml, NeedsNothingFromOutside) {
  std::string html = RenderHtml(Page(Result(), {.right = 1000}));
  EXPECT_THAT(html, HasSubstr("prefers-color-scheme: dark"));
  for (const char* reference : {"<script", "<link", "src=", "href=", "url(", "@import"}) {
    EXPECT_THAT(html, Not(HasSubstr(reference)));
  }
}

TEST(RenderHtml, EveryTagThatOpensCloses) {
  std::string html = RenderHtml(Page(Result(), {.right = 1000}));
  std::vector<std::string> open;
  std::regex tag(R"(<(/?)([a-z0-9]+)[^>]*?(/?)>)");
  for (std::sregex_iterator it(html.begin(), html.end(), tag), end; it != end; ++it) {
    std::string name = (*it)[2];
    if (name == "meta" || (*it)[3].length() > 0) continue;
    if ((*it)[1].length() == 0) {
      open.push_back(name);
      continue;
    }
    ASSERT_FALSE(open.empty()) << name;
    ASSERT_EQ(open.back(), name);
    open.pop_back();
  }
  EXPECT_THAT(open, ElementsAre());
}

TEST(RenderHtml, HasThreePlotsOrWhatThereIsToPlot) {
  auto plots = [](const std::string& html) {
    std::regex svg("<svg ");
    return std::distance(std::sregex_iterator(html.begin(), html.end(), svg), {});
  };
  EXPECT_EQ(plots(RenderHtml(Page(Result(), {}))), 3);
  EXPECT_EQ(plots(RenderHtml(Page(Result(), {}, {}))), 1);
  EXPECT_EQ(plots(RenderHtml(Page({}, {}, {}))), 0);
  // Answers that all took no time, and seconds without any.
  LoadResult one;
  one.latency.Record(milliseconds(0));
  EXPECT_EQ(plots(RenderHtml(Page(one, {}, {RunSecond{}}))), 3);
}

TEST(RenderHtml, NoFigureIsNotANumber) {
  LoadResult one;
  one.latency.Record(milliseconds(0));
  for (const LoadResult& result : {LoadResult(), one, Result()}) {
    std::string html = RenderHtml(Page(result, {}, {RunSecond{}}));
    EXPECT_THAT(html, Not(HasSubstr("nan")));
    EXPECT_THAT(html, Not(HasSubstr("\"inf")));
  }
}

TEST(RenderMarkdown, HasTheFiguresInTables) {
  std::string text = RenderMarkdown(Page(Result(), {.right = 1000}));
  EXPECT_THAT(text, HasSubstr("# POST /sign at http://127.0.0.1:8080\n"));
  EXPECT_THAT(text, HasSubstr("| requests | 1002 | due |\n"));
  EXPECT_THAT(text, HasSubstr("| p99 | 990 ms |\n"));
  EXPECT_THAT(text, HasSubstr("at 3 s: p50 1.000 ms, p99 8.000 ms"));
}

}  // namespace
}  // namespace bulla
