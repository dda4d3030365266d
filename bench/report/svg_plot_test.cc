#include "bench/report/svg_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>
#include <regex>

namespace bulla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<double> At(const PlotAxis& axis) {
  std::vector<double> at;
  for (const PlotTick& tick : axis.ticks) at.push_back(tick.at);
  return at;
}

TEST(EscapeMarkup, LeavesNothingThatMarkupCouldMean) {
  EXPECT_EQ(EscapeMarkup(R"(<a b="c" d='e'>&)"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;");
  EXPECT_EQ(EscapeMarkup("plain, \n\t"), "plain, \n\t");
}

TEST(EscapeMarkup, KeepsUtf8AndReplacesWhatIsNone) {
  EXPECT_EQ(EscapeMarkup("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91"),
            "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91");
  const std::string replaced = "\xef\xbf\xbd";
  EXPECT_EQ(EscapeMarkup(std::string_view("\0", 1)), replaced);
  EXPECT_EQ(EscapeMarkup("\x1b\x7f"), replaced + replaced);
  EXPECT_EQ(EscapeMarkup("\xff<"), replaced + "&lt;");
  EXPECT_EQ(EscapeMarkup("\xc3"), replaced);                                // cut off
  EXPECT_EQ(EscapeMarkup("\xc0\xbc"), replaced + replaced);                 // an overlong <
  EXPECT_EQ(EscapeMarkup("\xed\xa0\x80"), replaced + replaced + replaced);  // a surrogate
  EXPECT_EQ(EscapeMarkup("\xe2\x82<"), replaced + replaced + "&lt;");
}

TEST(LinearAxis, CoversItsValuesWithFewRoundTicks) {
  EXPECT_THAT(At(LinearAxis("", 10)), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(At(LinearAxis("", 11)), ElementsAre(0, 2, 4, 6, 8, 10, 12));
  EXPECT_THAT(At(LinearAxis("", 5000)), ElementsAre(0, 1000, 2000, 3000, 4000, 5000));
  for (double highest : {0.0, 0.003, 1.0, 7.0, 99.0, 123456.0}) {
    PlotAxis axis = LinearAxis("", highest);
    EXPECT_GE(axis.to, highest);
    EXPECT_GT(axis.to, axis.from);
    EXPECT_LE(axis.ticks.size(), 10u) << highest;
    EXPECT_EQ(axis.to, axis.ticks.back().at);
  }
}

TEST(LogAxis, BeginsAndEndsAroundItsValues) {
  EXPECT_THAT(At(LogAxis("", 0.3, 4)), ElementsAre(0.2, 0.5, 1, 2, 5));
  EXPECT_THAT(At(LogAxis("", 1, 1)), ElementsAre(1, 2));
  PlotAxis of_nothing = LogAxis("", 0, 0);
  EXPECT_GT(of_nothing.from, 0);
  EXPECT_GT(of_nothing.to, of_nothing.from);
}

Plot PlotOf(std::vector<PlotPoint> points) {
  return {.title = "a <title>",
          .x = LinearAxis("seconds", 10),
          .y = LogAxis("ms", 1, 100),
          .lines = {{.name = "p50", .css_class = "p50", .points = std::move(points)}}};
}

TEST(RenderSvg, EveryPointIsWithinThePicture) {
  double infinity = std::numeric_limits<double>::infinity();
  std::string svg = RenderSvg(PlotOf({{-5, 0}, {5, 10}, {20, 1e9}, {infinity, infinity}}));
  std::smatch match;
  ASSERT_TRUE(std::regex_search(svg, match, std::regex(R"re(points="([^"]*)")re"))) << svg;
  std::string points = match[1];
  std::regex pair(R"(([-0-9.naif]+),([-0-9.naif]+) )");
  int count = 0;
  for (std::sregex_iterator it(points.begin(), points.end(), pair), end; it != end; ++it, ++count) {
    double x = std::stod((*it)[1]);
    double y = std::stod((*it)[2]);
    EXPECT_TRUE(x >= 0 && x <= 860) << points;
    EXPECT_TRUE(y >= 0 && y <= 300) << points;
  }
  EXPECT_EQ(count, 4);
}

TEST(RenderSvg, HigherIsUpAndLaterIsRight) {
  std::string svg = RenderSvg(PlotOf({{0, 1}, {10, 200}}));
  // The corners of the axes: 64 from the left, 24 from the right, 48 from below, 34 from above.
  EXPECT_THAT(svg, HasSubstr(R"(points="64.0,252.0 836.0,34.0 ")"));
}

TEST(RenderSvg, TextIsEscapedAndLabelsAreDrawn) {
  Plot plot = PlotOf({{1, 2, "<label>"}});
  plot.band = PlotBand{.from = 0, .to = 3, .label = "warm & up"};
  std::string svg = RenderSvg(plot);
  EXPECT_THAT(svg, HasSubstr("a &lt;title&gt;"));
  EXPECT_THAT(svg, HasSubstr("&lt;label&gt;"));
  EXPECT_THAT(svg, HasSubstr("warm &amp; up"));
  EXPECT_THAT(svg, Not(HasSubstr("<label>")));
}

TEST(RenderSvg, ALineOfOnePointIsStillSeen) {
  EXPECT_THAT(RenderSvg(PlotOf({{1, 2}})), HasSubstr("<circle class=\"p50\""));
}

}  // namespace
}  // namespace bulla
