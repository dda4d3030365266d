#pragma once

// Moves keys between enclaves without anybody noticing. When a weight is to change
// (gateway/routing/fleet), the keys in use that the next step moves are loaded where they will
// belong, and then the step is made: so their next signature finds them there.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/hot.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "gateway/link/environment.h"
#include "gateway/routing/fleet.h"
#include "store/key_store.h"

namespace bulla {

// Thread-safe. All is done in steps of one timer, which never wait: what the enclaves and the store
// answer wakes it.
class Rebalancer {
 public:
  // A step is made at most every `interval`. What it is made with outlives it.
  Rebalancer(Fleet& fleet, KeyStore& store, Metrics& metrics,
             const Hot<std::chrono::milliseconds>& interval, const Environment& environment);
  ~Rebalancer();  // Stop()

  void Start();
  // Idempotent. What the store and the enclaves were asked is waited for.
  void Stop() BULLA_EXCLUDES(mutex_);

 private:
  enum class State {
    kResting,   // until next_
    kAsking,    // which keys are in use, one member after the other, each part by part
    kFetching,  // their blobs, some at a time
    kSending,
  };
  // A key in use that leaves a member, and where it goes to.
  struct Move {
    KeyId key_id;
    std::shared_ptr<EnclaveLink> to;
  };
  struct Load {
    Bytes blob;
    std::shared_ptr<EnclaveLink> to;
  };

  // Returns when to call it again.
  MonotonicTime Step() BULLA_EXCLUDES(mutex_);
  // The next thing to do; returns when there will be one, `now` when it has done one.
  MonotonicTime Rest(MonotonicTime now);
  MonotonicTime Ask(MonotonicTime now) BULLA_EXCLUDES(mutex_);
  MonotonicTime Fetch(MonotonicTime now) BULLA_EXCLUDES(mutex_);
  MonotonicTime Send(MonotonicTime now);
  void TakeInUse(const absl::StatusOr<EnclaveLink::KeysInUse>& in_use);
  void Expect(std::size_t answers) BULLA_EXCLUDES(mutex_);
  void Answered() BULLA_REQUIRES(mutex_);

  Fleet& fleet_;
  KeyStore& store_;
  const Hot<std::chrono::milliseconds>& interval_;
  const Environment environment_;
  prometheus::Counter& warmed_up_;

  // The steps' own.
  State state_ = State::kResting;
  MonotonicTime next_;
  std::optional<Fleet::Step> step_;  // to be made when what it moves was loaded
  std::size_t member_ = 0;           // of step_->from: whose keys are being moved
  std::uint32_t part_ = 0;           // of its keys in use: asked for next
  std::uint32_t parts_ = 1;
  std::vector<Move> moves_;  // not yet fetched
  std::vector<Load> loads_;  // not yet sent
  MonotonicTime give_up_;    // the load that finds no room
  std::size_t count_ = 0;    // moved by this step

  Mutex mutex_;
  CondVar all_answered_;
  std::size_t awaited_ BULLA_GUARDED_BY(mutex_) = 0;  // answers
  std::optional<absl::StatusOr<EnclaveLink::KeysInUse>> in_use_ BULLA_GUARDED_BY(mutex_);
  std::vector<Load> found_ BULLA_GUARDED_BY(mutex_);

  std::unique_ptr<Timer> timer_;
};

}  // namespace bulla
