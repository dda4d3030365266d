#pragma once

// What is run.

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "bench/schedule.h"
#include "bench/traffic.h"

namespace bulla {

// The answers that are kept to be checked: 1.3 GB. At 10,000 a second 27 minutes.
inline constexpr std::uint64_t kAnswersMax = 16'000'000;

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

}  // namespace bulla
