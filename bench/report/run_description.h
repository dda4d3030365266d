#pragma once

// What is run.

#include <cstdint>
#include <fmt/format.h>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "bench/load/schedule.h"
#include "bench/load/traffic.h"

namespace bulla {

// The answers that are kept to be checked: 2.6 GB. At 32,000 a second 16 minutes.
inline constexpr std::uint64_t kAnswersMax = 32'000'000;

// What was run, for whoever reads the figures later.
struct RunDescription {
  std::string url;
  Traffic traffic;
  double rate_per_s = 0;  // 0: closed loop
  int keys = 16;
  Duration warm_up = std::chrono::seconds(2);
  Duration duration = std::chrono::seconds(10);
  std::uint64_t seed = 0;
};

inline SchedulePlan ScheduleFor(const RunDescription& run) {
  return {.rate_per_s = run.rate_per_s,
          .warm_up = run.warm_up,
          .measured = run.duration,
          .requests_max = kAnswersMax};
}

// INVALID_ARGUMENT when more requests are due than answers can be kept.
inline absl::Status CheckAnswersFit(const RunDescription& run) {
  if (Schedule::DueWithin(run.rate_per_s, run.warm_up + run.duration) <= kAnswersMax) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("more than {} requests: their answers could not be kept; want a lower --rate or "
                  "a shorter --duration",
                  kAnswersMax));
}

}  // namespace bulla
