#include "bench/report/svg_plot.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace bulla {
namespace {

// In pixels, where the page shows it at its size.
constexpr double kWidth = 860;
constexpr double kHeight = 300;
constexpr double kLeft = 64;
constexpr double kRight = 24;
constexpr double kTop = 34;
constexpr double kBottom = 48;
constexpr double kLegendStep = 110;

constexpr int kLinearTicksMax = 8;

// The length of the UTF-8 character that `text` begins with; 0 when that is none. Overlong forms
// and surrogates are refused by the bounds on the second byte (Unicode 15, table 3-7).
std::size_t Utf8Length(std::string_view text) {
  auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char first = byte(0);
  if (first < 0x80) return 1;
  std::size_t length = first >= 0xc2 && first <= 0xdf   ? 2
                       : first >= 0xe0 && first <= 0xef ? 3
                       : first >= 0xf0 && first <= 0xf4 ? 4
                                                        : 0;
  if (length == 0 || text.size() < length) return 0;
  unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < least || byte(1) > most) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  }
  return length;
}

// The position on the axis, from 0 to 1.
double Share(const PlotAxis& axis, double value) {
  double share = axis.logarithmic ? std::log(std::max(value, axis.from) / axis.from) /
                                        std::log(axis.to / axis.from)
                                  : (value - axis.from) / (axis.to - axis.from);
  return std::clamp(share, 0.0, 1.0);
}
double X(const Plot& plot, double value) {
  return kLeft + Share(plot.x, value) * (kWidth - kLeft - kRight);
}
double Y(const Plot& plot, double value) {
  return kHeight - kBottom - Share(plot.y, value) * (kHeight - kTop - kBottom);
}

std::string Text(double x, double y, std::string_view anchor, std::string_view css_class,
                 std::string_view text) {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>)", x, y,
                     anchor, css_class, EscapeMarkup(text)) +
         "\n";
}

std::string Line(std::string_view css_class, double x1, double y1, double x2, double y2) {
  return fmt::format(R"(<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>)",
                     css_class, x1, y1, x2, y2) +
         "\n";
}

std::string RenderBand(const Plot& plot) {
  double from = X(plot, plot.band->from);
  double to = X(plot, plot.band->to);
  return fmt::format(R"(<rect class="band" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>)", from,
                     kTop, to - from, kHeight - kTop - kBottom) +
         "\n" + Text(from + 6, kTop + 14, "start", "small", plot.band->label);
}

std::string RenderAxes(const Plot& plot) {
  std::string svg;
  for (const PlotTick& tick : plot.y.ticks) {
    double y = Y(plot, tick.at);
    svg += Line("grid", kLeft, y, kWidth - kRight, y);
    svg += Text(kLeft - 8, y + 4, "end", "small", tick.label);
  }
  for (const PlotTick& tick : plot.x.ticks) {
    double x = X(plot, tick.at);
    svg += Line("grid", x, kTop, x, kHeight - kBottom);
    svg += Text(x, kHeight - kBottom + 17, "middle", "small", tick.label);
  }
  svg += Line("axis", kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom);
  svg += Text(kWidth - kRight, kHeight - 10, "end", "small", plot.x.label);
  svg += Text(8, 16, "start", "small", plot.y.label);
  return svg;
}

std::string RenderLine(const Plot& plot, const PlotLine& line) {
  std::string points;
  std::string marks;
  for (const PlotPoint& point : line.points) {
    double x = X(plot, point.x);
    double y = Y(plot, point.y);
    points += fmt::format("{:.1f},{:.1f} ", x, y);
    if (point.label.empty()) continue;
    marks +=
        fmt::format(R"(<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3"/>)", line.css_class, x, y) +
        "\n" + Text(x - 6, y - 7, "end", "small", point.label);
  }
  if (line.points.size() == 1) {  // of one point a line shows nothing
    marks += fmt::format(R"(<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3"/>)", line.css_class,
                         X(plot, line.points[0].x), Y(plot, line.points[0].y)) +
             "\n";
  }
  return fmt::format(R"(<polyline class="{}" points="{}"/>)", line.css_class, points) + "\n" +
         marks;
}

std::string RenderLegend(const Plot& plot) {
  if (plot.lines.size() < 2) return "";
  std::string svg;
  double x = kWidth - kRight - kLegendStep * static_cast<double>(plot.lines.size());
  for (const PlotLine& line : plot.lines) {
    svg += fmt::format(R"(<polyline class="{}" points="{:.1f},12 {:.1f},12"/>)", line.css_class, x,
                       x + 20) +
           "\n" + Text(x + 26, 16, "start", "small", line.name);
    x += kLegendStep;
  }
  return svg;
}

}  // namespace

std::string EscapeMarkup(std::string_view text) {
  constexpr std::string_view kReplacement = "\xef\xbf\xbd";
  std::string escaped;
  while (!text.empty()) {
    std::size_t length = Utf8Length(text);
    char c = text[0];
    if (length == 0 || (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') ||
        c == 0x7f) {
      escaped += kReplacement;
      text.remove_prefix(1);
      continue;
    }
    if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else if (c == '"') {
      escaped += "&quot;";
    } else if (c == '\'') {
      escaped += "&#39;";
    } else {
      escaped += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return escaped;
}

PlotAxis LinearAxis(std::string label, double highest) {
  PlotAxis axis{.label = std::move(label)};
  highest = std::max(highest, 1e-9);
  double power = std::pow(10, std::floor(std::log10(highest)));
  double step = power;
  for (double candidate : {power / 5, power / 2, power, 2 * power}) {
    step = candidate;
    if (highest / step <= kLinearTicksMax) break;
  }
  double count = std::ceil(highest / step - 1e-9);
  for (int i = 0; i <= static_cast<int>(count); ++i) {
    axis.ticks.push_back({i * step, fmt::format("{:g}", i * step)});
  }
  axis.to = count * step;
  return axis;
}

PlotAxis LogAxis(std::string label, double lowest, double highest) {
  lowest = std::max(lowest, 1e-6);
  highest = std::max(highest, lowest);
  std::vector<double> values;  // 1, 2, 5 of each power, from the last below to the first above
  for (double power = std::pow(10, std::floor(std::log10(lowest)));; power *= 10) {
    for (double digit : {1.0, 2.0, 5.0}) {
      double value = digit * power;
      if (value <= lowest) values.clear();
      values.push_back(value);
      if (value > highest) {
        PlotAxis axis{.label = std::move(label),
                      .from = values.front(),
                      .to = values.back(),
                      .logarithmic = true};
        for (double at : values) axis.ticks.push_back({at, fmt::format("{:g}", at)});
        return axis;
      }
    }
  }
}

std::string RenderSvg(const Plot& plot) {
  std::string svg =
      fmt::format(R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" role="img")"
                  R"( aria-label="{2}">)",
                  kWidth, kHeight, EscapeMarkup(plot.title));
  svg += "\n";
  if (plot.band) svg += RenderBand(plot);
  svg += RenderAxes(plot);
  for (const PlotLine& line : plot.lines) svg += RenderLine(plot, line);
  svg += RenderLegend(plot);
  return svg + "</svg>\n";
}

}  // namespace bulla
