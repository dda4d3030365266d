#pragma once

// The load itself: POST /sign over kept connections, one request at a time on each, as a schedule
// says. One thread and one epoll; per request one send, one recv and a share of an epoll_wait, so
// that on a small machine the generator leaves the CPU to what it measures.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "bench/answer_log.h"
#include "bench/latency_histogram.h"
#include "bench/schedule.h"
#include "bench/tcp.h"

namespace bulla {

struct LoadPlan {
  SchedulePlan schedule;
  int connections = 1;
  std::vector<BenchKey> keys;  // taken in turn
  std::uint64_t seed = 0;      // of the digests
  // Called when the measured part begins and when it ends, with the good answers so far (warm-up
  // included). Requests are under way both times, so what is counted between belongs together.
  std::function<void(std::uint64_t)> at_edge;
};

// What has happened so far, once a second.
struct LoadProgress {
  Duration since_start{};
  Duration interval{};              // what `latency` and `failed` are about
  const LatencyHistogram& latency;  // of the answers in the interval, warm-up included
  std::uint64_t failed = 0;         // since the start: error answers and lost connections
  bool warm_up = false;
};

// Figures are of the measured part alone. requests = answered well (latency.count()) + failed +
// malformed + dropped.
struct LoadResult {
  std::uint64_t requests = 0;   // that were due
  std::uint64_t failed = 0;     // answered with an error
  std::uint64_t malformed = 0;  // answered with something that is no answer
  std::uint64_t dropped = 0;    // never sent, never answered, or lost with a connection
  std::uint64_t warm_up_requests = 0;
  std::uint64_t warm_up_failed = 0;     // of those, for whatever reason
  std::uint64_t reconnects = 0;         // warm-up included
  LatencyHistogram latency;             // from due to answered
  LatencyHistogram lag;                 // from due to sent: no connection was free, or we were late
  std::map<int, std::uint64_t> errors;  // by HTTP status
  std::string first_error;              // a body, or a message
  Duration measured{};                  // until the last answer
  Duration cpu{};                       // of the generator's thread, warm-up included
  AnswerLog answers;                    // warm-up included
};

// Blocks until all is answered, or given up five seconds after the end. UNAVAILABLE when the
// connections cannot be made.
absl::StatusOr<LoadResult> RunLoadBlocking(const LoadPlan& plan, const Target& target,
                                           const Clock& clock,
                                           const std::function<void(const LoadProgress&)>& report);

}  // namespace bulla
