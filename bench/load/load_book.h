#pragma once

// The book of a load: which requests are due, what became of each, and how long it took. One for
// all protocols.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "bench/load/answer_log.h"
#include "bench/load/latency_histogram.h"
#include "bench/load/schedule.h"

namespace bulla {

// What has happened so far, once a second.
struct LoadProgress {
  Duration since_start{};
  Duration interval{};              // what `latency` is about
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
  std::uint64_t warm_up_failed = 0;  // of those, for whatever reason
  std::uint64_t reconnects = 0;      // warm-up included
  std::uint64_t messages = 0;       // that were sent, warm-up included; in each one request or more
  LatencyHistogram latency;         // from due to answered
  LatencyHistogram failed_latency;  // of what was answered with an error: from due to answered
  LatencyHistogram lag;             // from due to sent: no connection was free, or we were late
  std::map<std::string, std::uint64_t> errors;  // by the name in the table of errors
  std::string first_error;                      // a body, or a message
  Duration measured{};                          // until the last answer
  Duration cpu{};                               // of the generator's process, warm-up included
  AnswerLog answers;                            // warm-up included
};

// Confined to one thread.
class LoadBook {
 public:
  // `at_edge` is called when the measured part begins and when it ends, with the good answers so
  // far (warm-up included). Requests are under way both times, so what is counted between belongs
  // together.
  LoadBook(const SchedulePlan& plan, std::function<void(const LoadProgress&)> report,
           std::function<void(std::uint64_t)> at_edge);

  // Once, when the connections are there; before anything else.
  void Start(MonotonicTime now);

  // The next request if it is due, to be sent at once.
  std::optional<DueRequest> Take(MonotonicTime now);

  // What became of one that was taken; once for each.
  void Answered(const DueRequest& request, const RecoverableSignature& signature,
                MonotonicTime now);
  void Failed(const DueRequest& request, std::string_view code, std::string_view what,
              MonotonicTime now);
  void Malformed(const DueRequest& request, std::string_view what);
  void Dropped(const DueRequest& request, std::string_view why);
  void CountMessage() { ++result_.messages; }
  void CountReconnect() { ++result_.reconnects; }

  // Reports and passes edges when it is time to.
  void Tick(MonotonicTime now);
  MonotonicTime next_tick() const { return std::min(next_report_, next_edge_); }
  MonotonicTime next_due() const { return schedule_->next_due(); }
  MonotonicTime end() const { return schedule_->end(); }
  std::uint64_t under_way() const { return under_way_; }
  // No more are due.
  bool Ended(MonotonicTime now) const { return schedule_->Ended(now); }

  // Requires: nothing is under way.
  LoadResult Finish();

 private:
  void CountError(const DueRequest& request, std::uint64_t& counter, std::string_view what);
  void PassEdge();

  const SchedulePlan plan_;
  std::optional<Schedule> schedule_;
  MonotonicTime start_;
  const std::function<void(const LoadProgress&)> report_;
  const std::function<void(std::uint64_t)> at_edge_;
  std::uint64_t under_way_ = 0;
  std::uint64_t answered_ = 0;
  MonotonicTime last_answer_;
  MonotonicTime next_report_;
  MonotonicTime next_edge_;  // max() behind both
  int edges_passed_ = 0;
  LatencyHistogram interval_;
  LoadResult result_;
};

}  // namespace bulla
