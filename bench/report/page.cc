#include "bench/report/page.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "bench/report/units.h"

namespace bulla {
namespace {

// Of the percentile curve, between one nine and the next.
constexpr double kPointsPerNine = 20;

// From the least to the highest that so many values can tell apart: of a thousand, 99.9 %.
std::vector<PercentilePoint> PercentilesOf(const LatencyHistogram& latency) {
  std::vector<PercentilePoint> points;
  if (latency.count() == 0) return points;
  double nines_max = std::log10(static_cast<double>(latency.count()));
  for (double step = 0; step / kPointsPerNine < nines_max; ++step) {
    double share = 1 - std::pow(10, -step / kPointsPerNine);
    points.push_back({share, latency.Quantile(share)});
  }
  points.push_back({1 - std::pow(10, -nines_max), latency.max()});
  return points;
}

std::vector<std::string> ConditionsOf(const ReportHead& head, const RunDescription& run) {
  std::string loop =
      run.rate_per_s > 0
          ? fmt::format(
                "Open loop: {:g} requests due per second, whatever became of those before; "
                "latency counts from when a request was due.",
                run.rate_per_s)
          : std::string(
                "Closed loop: the next request goes out when the last is answered; latency counts "
                "from when a request was sent.");
  return {loop, fmt::format(
                    "{}, {} keys, {:g} s measured after {:g} s of warm-up; digests of seed {}.",
                    head.traffic, run.keys, Seconds(run.duration), Seconds(run.warm_up), run.seed)};
}

std::vector<ReportFigure> CountsOf(const RunDescription& run, const LoadResult& result,
                                   const Verification& verification) {
  double seconds = Seconds(std::max(result.measured, run.duration));
  std::vector<ReportFigure> counts{
      {"rate", fmt::format("{:.1f}", static_cast<double>(result.latency.count()) / seconds),
       "good answers per second"},
      {"requests", std::to_string(result.requests), "due"},
      {"failed", std::to_string(result.failed), "answered with an error"},
      {"malformed", std::to_string(result.malformed), "answered with something else"},
      {"dropped", std::to_string(result.dropped),
       "not sent, not answered, or lost with a connection"},
      {"verified", std::to_string(verification.right),
       "signatures checked after the run and right"},
      {"wrong", std::to_string(verification.wrong),
       "signatures that are not the key's (warm-up included)"}};
  for (const auto& [code, number] : result.errors) {
    counts.push_back(
        {fmt::format("error {}", code), std::to_string(number), "of those that failed"});
  }
  return counts;
}

std::vector<ReportFigure> LatenciesOf(const LatencyHistogram& latency) {
  return {{"mean", MsText(latency.Mean()), ""},
          {"p50", MsText(latency.Quantile(0.5)), ""},
          {"p90", MsText(latency.Quantile(0.9)), ""},
          {"p95", MsText(latency.Quantile(0.95)), ""},
          {"p99", MsText(latency.Quantile(0.99)), ""},
          {"p99.9", MsText(latency.Quantile(0.999)), ""},
          {"p99.99", MsText(latency.Quantile(0.9999)), ""},
          {"max", MsText(latency.max()), ""}};
}

std::vector<std::string> NotesOf(const RunDescription& run, const LoadResult& result,
                                 const Verification& verification) {
  std::vector<std::string> notes;
  if (run.rate_per_s > 0 && result.lag.count() > 0) {
    notes.push_back(fmt::format("Of the latency, from due to sent: p50 {}, p99 {}, at most {}.",
                                MsText(result.lag.Quantile(0.5)), MsText(result.lag.Quantile(0.99)),
                                MsText(result.lag.max())));
  }
  if (result.warm_up_failed > 0) {
    notes.push_back(fmt::format("{} requests of the warm-up failed.", result.warm_up_failed));
  }
  if (result.reconnects > 0) {
    notes.push_back(fmt::format("{} connections had to be made again.", result.reconnects));
  }
  if (!result.first_error.empty()) notes.push_back("First error: " + result.first_error);
  if (!verification.first_wrong.empty()) {
    notes.push_back("First wrong signature: " + verification.first_wrong);
  }
  return notes;
}

RunSecond Together(const RunSecond* first, const RunSecond* last) {
  RunSecond sum = *(last - 1);  // its end, and what had failed by then
  sum.from = first->from;
  double rates = 0;
  for (const RunSecond* second = first; second != last; ++second) {
    rates += second->rate_per_s;
    sum.p50 = std::max(sum.p50, second->p50);
    sum.p99 = std::max(sum.p99, second->p99);
  }
  sum.rate_per_s = rates / static_cast<double>(last - first);
  return sum;
}

}  // namespace

RunSecond SecondOf(const LoadProgress& progress) {
  return {.from = progress.since_start - progress.interval,
          .at = progress.since_start,
          .rate_per_s = static_cast<double>(progress.latency.count()) / Seconds(progress.interval),
          .p50 = progress.latency.Quantile(0.5),
          .p99 = progress.latency.Quantile(0.99),
          .failed = progress.failed};
}

std::vector<RunSecond> Thinned(const std::vector<RunSecond>& seconds, std::size_t count) {
  if (seconds.size() <= count) return seconds;
  // One less than may be: the warm-up's last group may be a small one.
  std::size_t width = (seconds.size() + count - 2) / (count - 1);
  std::vector<RunSecond> thinned;
  const RunSecond* end = seconds.data() + seconds.size();
  for (const RunSecond* first = seconds.data(); first != end;) {
    const RunSecond* last = first;
    while (last != end && last < first + width && last->warm_up == first->warm_up) ++last;
    thinned.push_back(Together(first, last));
    first = last;
  }
  return thinned;
}

ReportPage PageOf(const ReportHead& head, const RunDescription& run, const LoadResult& result,
                  const Verification& verification, std::vector<RunSecond> seconds) {
  ReportPage page{.title = fmt::format("{} at {}", head.call, run.url),
                  .conditions = ConditionsOf(head, run),
                  .right = verification.wrong == 0 && result.malformed == 0,
                  .counts = CountsOf(run, result, verification),
                  .latencies = LatenciesOf(result.latency),
                  .notes = NotesOf(run, result, verification),
                  .percentiles = PercentilesOf(result.latency),
                  .seconds = std::move(seconds),
                  .warm_up = run.warm_up,
                  .wanted_rate_per_s = run.rate_per_s};
  for (RunSecond& second : page.seconds) second.warm_up = second.from < run.warm_up;
  if (verification.wrong > 0) {
    page.verdict = fmt::format("{} signatures are WRONG.", verification.wrong);
  } else if (result.malformed > 0) {
    page.verdict = fmt::format("{} answers make no sense.", result.malformed);
  } else {
    page.verdict = fmt::format("All {} signatures were checked and are right.",
                               verification.right + verification.warm_up_right);
  }
  return page;
}

std::string MsText(Duration time) {
  double ms = Ms(time);
  if (ms >= 100) return fmt::format("{:.0f} ms", ms);
  if (ms >= 10) return fmt::format("{:.1f} ms", ms);
  return fmt::format("{:.3f} ms", ms);
}

std::optional<RunSecond> WorstSecond(const std::vector<RunSecond>& seconds) {
  std::optional<RunSecond> worst;
  for (const RunSecond& second : seconds) {
    if (!second.warm_up && (!worst || second.p99 > worst->p99)) worst = second;
  }
  return worst;
}

}  // namespace bulla
