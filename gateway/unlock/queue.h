#pragma once

// The cold path: which DEK is to be opened in which enclave, and when. One flight for each pair, a
// bounded number of them at once, retried with backoff and jitter until it succeeds or is
// forgotten; what KMS refuses for good is tried every few minutes only, since somebody has to
// change something there first. Callers are never kept waiting for it: they were told
// UNLOCK_REQUIRED and come back.
//
// Pure: says what to start; the router starts it. Not thread-safe: the router guards it.

#include <compare>
#include <cstdint>
#include <map>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/unlock_cause.h"
#include "gateway/link/unlock_backoff.h"
#include "gateway/unlock/unlock_settings.h"

namespace bulla {

class UnlockQueue {
 public:
  struct Task {
    std::uint32_t enclave = 0;  // EnclaveLink::id()
    DekId dek_id;
    friend auto operator<=>(const Task&, const Task&) = default;
  };

  // Pairs known at once. More than that is refused: its callers ask again.
  static constexpr std::size_t kTasksMax = 16384;

  // `settings` outlives it.
  explicit UnlockQueue(const UnlockSettings& settings) : settings_(settings) {}

  // Asks for an unlock. One that is known already changes nothing. False when the queue is full.
  bool Want(const Task& task, MonotonicTime now);

  // What is due at `now` and has room, what has waited longest first: where attempts take long to
  // fail, one enclave's must not keep the others' from ever being made. Each is then in flight
  // until Succeeded, Failed or GaveUp.
  std::vector<Task> Start(MonotonicTime now);

  void Succeeded(const Task& task);
  // Tries again after UnlockBackoff(). Returns how often it has failed in a row.
  unsigned Failed(const Task& task, MonotonicTime now, std::uint64_t random,
                  UnlockCause cause = UnlockCause::kUnavailable);
  // Why it failed last; kOther when it did not.
  UnlockCause CauseOf(const Task& task) const;
  // What KMS has refused for good is due now: something has changed that may have been the reason.
  void RetryRefused(MonotonicTime now);
  // What no retry can help: it is dropped, and may be wanted again.
  void GaveUp(const Task& task);

  // An enclave is gone: what was wanted of it is forgotten, and asked for anew when it is back.
  void Forget(std::uint32_t enclave);

  std::size_t size() const { return flights_.size(); }
  std::size_t running() const { return running_; }
  // Those that KMS has refused for good when it was asked last, of one enclave, by cause.
  std::map<UnlockCause, std::size_t> Refused(std::uint32_t enclave) const;
  // Those that are likely to be over soon: all but the refused ones. Of one enclave, or of all.
  std::size_t hopeful(std::uint32_t enclave) const;
  std::size_t hopeful() const;

 private:
  struct Flight {
    bool running = false;
    bool forgotten = false;
    unsigned attempts = 0;  // failed in a row
    unsigned refusals = 0;  // the same, each for a final cause
    UnlockCause cause = UnlockCause::kOther;
    MonotonicTime not_before;
  };

  const UnlockSettings& settings_;
  std::map<Task, Flight> flights_;
  std::size_t running_ = 0;
  // Of the second that began then.
  MonotonicTime second_begin_{};
  std::size_t begun_in_second_ = 0;
};

}  // namespace bulla
