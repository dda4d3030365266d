#pragma once

// What a report of a run shows, whichever way it is written (report_markdown, report_html): the
// figures as text with their units, and the points of the plots. Pure functions.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/report/report.h"

namespace bulla {

// One second of a run, or whatever passed between two reports of progress.
struct RunSecond {
  Duration from{};  // since the start
  Duration at{};    // its end
  double rate_per_s = 0;
  Duration p50{};
  Duration p99{};
  std::uint64_t failed = 0;  // since the start
  bool warm_up = false;      // some of it was; known to PageOf
};
RunSecond SecondOf(const LoadProgress& progress);

// At most so many points are drawn, so that the report of a day is no larger than that of fifteen
// minutes.
inline constexpr std::size_t kSecondsDrawnMax = 900;
// Neighbours taken together until there are at most `count`: rates are averaged, of latencies the
// worst counts. What is warm-up is not taken together with what is not. Requires: count >= 2.
std::vector<RunSecond> Thinned(const std::vector<RunSecond>& seconds, std::size_t count);

struct ReportFigure {
  std::string name;
  std::string value;
  std::string meaning;
};

// This share of all requests took at most this long.
struct PercentilePoint {
  double share = 0;
  Duration latency{};
};

struct ReportPage {
  std::string title;
  std::vector<std::string> conditions;  // sentences
  std::string verdict;                  // of the check of all signatures
  bool right = false;                   // the verdict, in short
  std::vector<ReportFigure> counts;
  std::vector<ReportFigure> latencies;
  std::vector<std::string> notes;  // complaints; may carry what the service wrote
  std::vector<PercentilePoint> percentiles;
  std::vector<RunSecond> seconds;
  Duration warm_up{};
  double wanted_rate_per_s = 0;  // 0: closed loop
};

// What the description says differently for each protocol.
struct ReportHead {
  std::string call;     // "POST /sign"
  std::string traffic;  // "64 connections"
};
ReportPage PageOf(const ReportHead& head, const RunDescription& run, const LoadResult& result,
                  const Verification& verification, std::vector<RunSecond> seconds);

// "1.234 ms": as many digits as mean something.
std::string MsText(Duration time);
// The second whose p99 is the highest, warm-up apart.
std::optional<RunSecond> WorstSecond(const std::vector<RunSecond>& seconds);

}  // namespace bulla
