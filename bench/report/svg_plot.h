#pragma once

// Line plots as SVG, to stand within an HTML page that says in its style what the classes look
// like: grid, axis, band, and those of the lines. No script, nothing from outside. Pure functions.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bulla {

// Text as it may stand between tags and in quoted attributes. Control characters, which XML
// forbids, become U+FFFD, as does what is no UTF-8: some of it is written by whoever is measured.
std::string EscapeMarkup(std::string_view text);

struct PlotTick {
  double at = 0;
  std::string label;
};

struct PlotAxis {
  std::string label;
  double from = 0;  // at the left or the bottom
  double to = 1;    // > from
  bool logarithmic = false;
  std::vector<PlotTick> ticks;
};

// From 0 to at least `highest`, ticks at round numbers.
PlotAxis LinearAxis(std::string label, double highest);
// Around the positive values between, ticks at 1, 2 and 5 of each power of ten.
PlotAxis LogAxis(std::string label, double lowest, double highest);

struct PlotPoint {
  double x = 0;
  double y = 0;
  std::string label{};  // drawn beside a mark; none without it
};

struct PlotLine {
  std::string name;       // in the legend
  std::string css_class;  // of letters, digits, '-'
  std::vector<PlotPoint> points;
};

// A part of the x axis that is set off, with its name.
struct PlotBand {
  double from = 0;
  double to = 0;
  std::string label;
};

struct Plot {
  std::string title;  // for those who do not see it
  PlotAxis x;
  PlotAxis y;
  std::vector<PlotLine> lines;
  std::optional<PlotBand> band{};
};

// What lies outside of the axes is drawn at their ends.
std::string RenderSvg(const Plot& plot);

}  // namespace bulla
