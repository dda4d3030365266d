#include "bench/report/html.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "bench/report/svg_plot.h"
#include "bench/report/units.h"

namespace bulla {
namespace {

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --back: #ffffff;
        --band: #f0f3f6; --blue: #0969da; --orange: #bc4c00; --good: #1a7f37; --bad: #cf222e }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f0f6fc; --soft: #9198a1; --line: #3d444d; --back: #0d1117; --band: #1c2128;
          --blue: #4493f8; --orange: #f0883e; --good: #3fb950; --bad: #f85149 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
       max-width: 880px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 0 .5rem; overflow-wrap: anywhere }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
p { margin: .25rem 0 } .soft { color: var(--soft) }
.right { color: var(--good); font-weight: 600 } .wrong { color: var(--bad); font-weight: 600 }
.note { overflow-wrap: anywhere; white-space: pre-wrap }
.tables { display: flex; flex-wrap: wrap; gap: 0 3rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; font-weight: 400; padding: .15rem .8rem .15rem 0;
         border-bottom: 1px solid var(--line) }
td.number { text-align: right; font-weight: 600; white-space: nowrap }
svg { width: 100%; height: auto; display: block }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft) }
polyline { fill: none; stroke-width: 1.5; stroke-linejoin: round }
.grid { stroke: var(--line); stroke-width: .5 } .axis { stroke: var(--soft) }
.band { fill: var(--band) }
polyline.p50, polyline.rate { stroke: var(--blue) } circle.p50, circle.rate { fill: var(--blue) }
polyline.p99 { stroke: var(--orange) } circle.p99 { fill: var(--orange) }
polyline.wanted { stroke: var(--soft); stroke-dasharray: 5 4 } circle.wanted { fill: var(--soft) }
)";

// What a label of the percentile curve takes of its axis, about.
constexpr double kLabelNines = 0.25;

// "99.9": of 1 - 10^-nines.
std::string PercentText(int nines) {
  if (nines == 0) return "0";
  return nines == 1 ? "90" : nines == 2 ? "99" : "99." + std::string(std::size_t(nines) - 2, '9');
}

// From 1 / (1 - 0) to that of the highest percentile, a tick for each nine.
PlotAxis PercentileAxis(double nines_max) {
  PlotAxis axis{.label = "share of the requests, %",
                .from = 1,
                .to = std::pow(10, std::max(nines_max, 1.0)),
                .logarithmic = true,
                .ticks = {{2, "50"}}};
  for (int nines = 0; nines <= nines_max; ++nines) {
    axis.ticks.push_back({std::pow(10, nines), PercentText(nines)});
  }
  return axis;
}

Plot PercentilePlot(const std::vector<PercentilePoint>& points) {
  PlotLine line{.name = "latency", .css_class = "p50"};
  for (const PercentilePoint& point : points) {
    line.points.push_back({1 / (1 - point.share), Ms(point.latency)});
  }
  // Marks where people look, and at the end; not where that would be written over.
  double nines_max = std::log10(line.points.back().x);
  for (PlotPoint& point : line.points) {
    double nines = std::log10(point.x);
    bool whole = nines > 0.5 && std::abs(nines - std::round(nines)) < 1e-6;
    bool last = &point == &line.points.back();
    if (last || (whole && nines < nines_max - kLabelNines)) {
      point.label = fmt::format("{:.3g}", point.y);
    }
  }
  return {.title = "Latency by percentile",
          .x = PercentileAxis(nines_max),
          .y = LogAxis("ms", line.points.front().y, line.points.back().y),
          .lines = {line}};
}

std::optional<PlotBand> WarmUpBand(Duration warm_up) {
  if (warm_up <= Duration::zero()) return std::nullopt;
  return PlotBand{.from = 0, .to = Seconds(warm_up), .label = "warm-up"};
}

// To the end of the run and no further.
PlotAxis TimeAxis(const std::vector<RunSecond>& seconds) {
  double end = Seconds(seconds.back().at);
  PlotAxis axis = LinearAxis("seconds", end);
  if (end <= 0) return axis;
  std::erase_if(axis.ticks, [end](const PlotTick& tick) { return tick.at > end; });
  axis.to = end;
  return axis;
}

Plot LatencyPlot(const std::vector<RunSecond>& seconds, Duration warm_up) {
  PlotLine p50{.name = "p50", .css_class = "p50"};
  PlotLine p99{.name = "p99", .css_class = "p99"};
  double lowest = Ms(seconds.front().p50);
  double highest = 0;
  for (const RunSecond& second : seconds) {
    p50.points.push_back({Seconds(second.at), Ms(second.p50)});
    p99.points.push_back({Seconds(second.at), Ms(second.p99)});
    lowest = std::min(lowest, Ms(second.p50));
    highest = std::max(highest, Ms(second.p99));
  }
  return {.title = "Latency over time, by second",
          .x = TimeAxis(seconds),
          .y = LogAxis("ms", std::max(lowest, highest / 1e4), highest),
          .lines = {p50, p99},
          .band = WarmUpBand(warm_up)};
}

Plot RatePlot(const std::vector<RunSecond>& seconds, Duration warm_up, double wanted_rate_per_s) {
  PlotLine rate{.name = "answered", .css_class = "rate"};
  double highest = wanted_rate_per_s;
  for (const RunSecond& second : seconds) {
    rate.points.push_back({Seconds(second.at), second.rate_per_s});
    highest = std::max(highest, second.rate_per_s);
  }
  Plot plot{.title = "Rate over time, by second",
            .x = TimeAxis(seconds),
            .y = LinearAxis("good answers per second", highest),
            .lines = {rate},
            .band = WarmUpBand(warm_up)};
  if (wanted_rate_per_s > 0) {
    plot.lines.push_back(
        {.name = "due",
         .css_class = "wanted",
         .points = {{0, wanted_rate_per_s}, {Seconds(seconds.back().at), wanted_rate_per_s}}});
  }
  return plot;
}

std::string Figure(std::string_view heading, const Plot& plot) {
  return fmt::format("<h2>{}</h2>\n{}", heading, RenderSvg(plot));
}

std::string Table(const std::vector<ReportFigure>& figures) {
  std::string html = "<table>\n";
  for (const ReportFigure& figure : figures) {
    html += fmt::format(
        "<tr><th>{}</th><td class=\"number\">{}</td><td class=\"soft\">{}</td></tr>\n",
        EscapeMarkup(figure.name), EscapeMarkup(figure.value), EscapeMarkup(figure.meaning));
  }
  return html + "</table>\n";
}

std::string Head(const std::string& title) {
  return "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         title + "</title>\n<style>" + std::string(kStyle) + "</style>\n</head>\n<body>\n";
}

}  // namespace

std::string RenderHtml(const ReportPage& page) {
  std::string title = EscapeMarkup(page.title);
  std::string html = Head(title) + "<h1>" + title + "</h1>\n";
  for (const std::string& condition : page.conditions) {
    html += "<p class=\"soft\">" + EscapeMarkup(condition) + "</p>\n";
  }
  html += fmt::format("<p class=\"{}\">{}</p>\n", page.right ? "right" : "wrong",
                      EscapeMarkup(page.verdict));
  html += "<div class=\"tables\">\n<div><h2>Requests</h2>\n" + Table(page.counts) +
          "</div>\n<div><h2>Latency</h2>\n" + Table(page.latencies) + "</div>\n</div>\n";
  for (const std::string& note : page.notes) {
    html += "<p class=\"soft note\">" + EscapeMarkup(note) + "</p>\n";
  }
  if (!page.percentiles.empty()) {
    html += Figure("Latency by percentile", PercentilePlot(page.percentiles));
  }
  if (!page.seconds.empty()) {
    std::vector<RunSecond> seconds = Thinned(page.seconds, kSecondsDrawnMax);
    html += Figure("Latency over time", LatencyPlot(seconds, page.warm_up));
    html += Figure("Rate over time", RatePlot(seconds, page.warm_up, page.wanted_rate_per_s));
  }
  return html + "</body>\n</html>\n";
}

}  // namespace bulla
