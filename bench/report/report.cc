#include "bench/report/report.h"

#include <algorithm>
#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "bench/report/units.h"

namespace bulla {
namespace {

std::string_view ModeOf(const RunDescription& run) {
  return run.rate_per_s > 0 ? "open" : "closed";
}

// What the rate is of. Not less than was asked for: a service that answers nothing after the first
// second was not fast for a second.
double MeasuredSeconds(const RunDescription& run, const LoadResult& result) {
  return Seconds(std::max(result.measured, run.duration));
}

double AllRequests(const LoadResult& result) {
  return static_cast<double>(result.requests + result.warm_up_requests);
}

double RequestsPerMessage(const LoadResult& result) {
  return AllRequests(result) / std::max(static_cast<double>(result.messages), 1.0);
}

}  // namespace

double RatePerSecond(const RunDescription& run, const LoadResult& result) {
  return static_cast<double>(result.latency.count()) / MeasuredSeconds(run, result);
}

double GeneratorCpuUs(const LoadResult& result) {
  return Ms(result.cpu) * 1000 / std::max(AllRequests(result), 1.0);
}

std::string ProgressLine(const LoadProgress& progress) {
  const LatencyHistogram& latency = progress.latency;
  double rate = static_cast<double>(latency.count()) / Seconds(progress.interval);
  return fmt::format("{:5.0f} s {:9.0f}/s   p50 {:8.3f} ms   p99 {:8.3f} ms   failed {}{}",
                     Seconds(progress.since_start), rate, Ms(latency.Quantile(0.5)),
                     Ms(latency.Quantile(0.99)), progress.failed,
                     progress.warm_up ? "   (warm-up)" : "");
}

std::string TextReport(const RunDescription& run, const LoadResult& result,
                       const Verification& verification) {
  const LatencyHistogram& latency = result.latency;
  std::string loop = run.rate_per_s > 0
                         ? fmt::format(
                               "open loop, {:g} due per second; latency from when a "
                               "request was due",
                               run.rate_per_s)
                         : std::string("closed loop; latency from when a request was sent");
  std::string text =
      fmt::format("{} at {}\n{}\n{}, {} keys, {:g} s after {:g} s of warm-up\n\n",
                  CallOf(run.traffic.protocol), run.url, loop, TrafficText(run.traffic), run.keys,
                  Seconds(run.duration), Seconds(run.warm_up));
  auto count = [&text](std::string_view name, std::uint64_t value, std::string_view what) {
    text += fmt::format("{:<16}{:>12}   {}\n", name, value, what);
  };
  count("requests", result.requests, "due");
  count("failed", result.failed, "answered with an error");
  count("malformed", result.malformed, "answered with something else");
  count("dropped", result.dropped, "not sent, not answered, or lost with a connection");
  count("verified", verification.right, "signatures checked after the run and right");
  count("wrong", verification.wrong, "signatures that are not the key's (warm-up included)");
  text += fmt::format("{:<16}{:>12.1f}   good answers per second\n", "rate",
                      RatePerSecond(run, result));
  for (const auto& [code, number] : result.errors) count(code, number, "errors");
  text += fmt::format("\n{:<16}{:>12}\n", "latency", "ms");
  auto ms = [&text](std::string_view name, Duration value) {
    text += fmt::format("{:<16}{:>12.3f}\n", name, Ms(value));
  };
  ms("mean", latency.Mean());
  ms("p50", latency.Quantile(0.5));
  ms("p90", latency.Quantile(0.9));
  ms("p95", latency.Quantile(0.95));
  ms("p99", latency.Quantile(0.99));
  ms("p99.9", latency.Quantile(0.999));
  ms("max", latency.max());
  if (run.rate_per_s > 0) {
    text += fmt::format("of it, from due to sent: p50 {:.3f}, p99 {:.3f}, max {:.3f}\n",
                        Ms(result.lag.Quantile(0.5)), Ms(result.lag.Quantile(0.99)),
                        Ms(result.lag.max()));
  }
  if (result.failed > 0) {
    text += fmt::format("what was answered with an error: p50 {:.3f}, p99 {:.3f}, max {:.3f}\n",
                        Ms(result.failed_latency.Quantile(0.5)),
                        Ms(result.failed_latency.Quantile(0.99)), Ms(result.failed_latency.max()));
  }
  if (HasBatches(run.traffic.protocol)) {
    text += fmt::format("{:.1f} requests travelled in a message\n", RequestsPerMessage(result));
  }
  text += fmt::format("the generator itself took {:.1f} us of CPU per request\n",
                      GeneratorCpuUs(result));
  if (result.warm_up_failed > 0 || result.reconnects > 0) {
    text += fmt::format("\nfailed in the warm-up: {}; reconnections: {}\n", result.warm_up_failed,
                        result.reconnects);
  }
  if (!result.first_error.empty()) text += "first error: " + result.first_error + "\n";
  if (!verification.first_wrong.empty()) text += "WRONG: " + verification.first_wrong + "\n";
  return text;
}

boost::json::object RunJson(const RunDescription& run, const LoadResult& result,
                            const Verification& verification) {
  const LatencyHistogram& latency = result.latency;
  boost::json::object errors;
  for (const auto& [code, number] : result.errors) errors[code] = number;
  return {{"mode", std::string(ModeOf(run))},
          {"protocol", std::string(NameOf(run.traffic.protocol))},
          {"url", run.url},
          {"target_rate_per_s", run.rate_per_s},
          {"connections", run.traffic.connections},
          {"streams", run.traffic.streams},
          {"batch", HasBatches(run.traffic.protocol) ? run.traffic.batch : 1},
          {"requests_per_message", RequestsPerMessage(result)},
          {"keys", run.keys},
          {"seed", std::to_string(run.seed)},  // JSON's numbers are not wide enough for it
          {"warm_up_seconds", Seconds(run.warm_up)},
          {"duration_seconds", Seconds(run.duration)},
          {"seconds", MeasuredSeconds(run, result)},
          {"requests", result.requests},
          {"failed", result.failed},
          {"malformed", result.malformed},
          {"dropped", result.dropped},
          {"verified", verification.right},
          {"wrong", verification.wrong},
          {"rate_per_s", RatePerSecond(run, result)},
          {"mean_ms", Ms(latency.Mean())},
          {"p50_ms", Ms(latency.Quantile(0.5))},
          {"p90_ms", Ms(latency.Quantile(0.9))},
          {"p95_ms", Ms(latency.Quantile(0.95))},
          {"p99_ms", Ms(latency.Quantile(0.99))},
          {"p999_ms", Ms(latency.Quantile(0.999))},
          {"max_ms", Ms(latency.max())},
          {"failed_p50_ms", Ms(result.failed_latency.Quantile(0.5))},
          {"failed_p99_ms", Ms(result.failed_latency.Quantile(0.99))},
          {"failed_max_ms", Ms(result.failed_latency.max())},
          {"lag_p50_ms", Ms(result.lag.Quantile(0.5))},
          {"lag_p99_ms", Ms(result.lag.Quantile(0.99))},
          {"lag_max_ms", Ms(result.lag.max())},
          {"generator_cpu_us", GeneratorCpuUs(result)},
          {"errors", std::move(errors)},
          {"warm_up_requests", result.warm_up_requests},
          {"warm_up_failed", result.warm_up_failed},
          {"reconnects", result.reconnects}};
}

std::string JsonReport(const RunDescription& run, const LoadResult& result,
                       const Verification& verification) {
  return boost::json::serialize(RunJson(run, result, verification)) + "\n";
}

}  // namespace bulla
