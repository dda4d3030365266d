#pragma once

// Moves keys between enclaves without anybody noticing. When a weight is to change
// (gateway/routing/fleet), the keys in use that the next step moves are loaded where they will
// belong, and then the step is made: so their next signature finds them there.

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "gateway/routing/fleet.h"
#include "store/key_store.h"

namespace bulla {

// Thread-safe. Owns the one thread that makes the fleet's steps.
class Rebalancer {
 public:
  // A step is made at most every `interval`. `fleet` and `store` outlive it.
  Rebalancer(Fleet& fleet, KeyStore& store, Metrics& metrics, std::chrono::milliseconds interval);
  ~Rebalancer();  // Stop()

  void Start();
  // Idempotent. What is being fetched from the store is waited for.
  void Stop() BULLA_EXCLUDES(mutex_);

 private:
  void Run();
  // Loads what the step moves. A key that cannot be loaded ahead is loaded when it is asked for.
  void WarmUpBlocking(const Fleet::Step& step);
  // The keys in use that leave the member of that index, each with the one that it goes to.
  struct Move {
    KeyId key_id;
    std::shared_ptr<EnclaveLink> to;
  };
  std::vector<Move> MovesFromBlocking(const Fleet::Step& step, std::size_t member);
  void MoveBlocking(const Move* moves, std::size_t count);
  void SendBlocking(EnclaveLink& to, const Bytes& blob);
  // False when it is time to stop.
  bool WaitFor(std::chrono::milliseconds time) BULLA_EXCLUDES(mutex_);
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

  Fleet& fleet_;
  KeyStore& store_;
  const std::chrono::milliseconds interval_;
  prometheus::Counter& warmed_up_;

  Mutex mutex_;
  CondVar changed_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace bulla
