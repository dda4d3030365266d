#pragma once

// One opening at a time for each key, and who waits for it. A waiter is a record, not a thread: the
// flight's end gives them all back to be signed, or failed, together; the wheel gives back the ones
// whose wait is over first. Each is given back exactly once.

#include <list>
#include <memory>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "base/clock.h"
#include "base/ids.h"
#include "base/timer_wheel.h"
#include "enclave/sign_task.h"

namespace bulla {

// Not thread-safe: the key shard's owner guards it.
class SingleFlight {
 public:
  // Resolution of waiting times.
  static constexpr Duration kTick = std::chrono::milliseconds(1);

  SingleFlight(MonotonicTime start, std::size_t waiters_max)
      : waiters_max_(waiters_max), wheel_(start, kTick) {}
  ~SingleFlight();

  // Requires: no flight of this key is under way.
  void Begin(const KeyId& id, MonotonicTime now);
  // When the flight of this key began; null when there is none.
  const MonotonicTime* BeganAt(const KeyId& id) const;

  // Takes `task` in to wait for the key's flight, at most until its wait_until. Requires: not
  // full(), and the flight is under way.
  void Join(const KeyId& id, SignTask task);

  // Ends the key's flight, if there is one: its waiters, in the order of their arrival.
  std::vector<SignTask> End(const KeyId& id);

  // Appends to `rehydrate_timeout` those whose wait is over.
  void Advance(MonotonicTime now, std::vector<SignTask>& rehydrate_timeout);

  bool full() const { return waiters() >= waiters_max_; }
  std::size_t flights() const { return flights_.size(); }
  std::size_t waiters() const { return wheel_.size(); }

 private:
  struct Flight;
  struct Waiter : TimerNode {
    SignTask task;
    Flight* flight = nullptr;
    std::list<Waiter>::iterator self;
  };
  struct Flight {
    MonotonicTime began_at;
    std::list<Waiter> waiters;
  };

  const std::size_t waiters_max_;
  TimerWheel wheel_;
  absl::flat_hash_map<KeyId, std::unique_ptr<Flight>> flights_;
};

}  // namespace bulla
