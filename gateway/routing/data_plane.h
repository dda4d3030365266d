#pragma once

// The way of a signature from the gateway to its enclave, put together: who is disabled, which
// enclaves there are, how they are unlocked and kept in balance, and the router over all of it. One
// wiring for the program, its tests and the simulation.

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file_stamp.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "base/timer.h"
#include "gateway/link/disabled_keys.h"
#include "gateway/link/enclave_link.h"
#include "gateway/link/environment.h"
#include "gateway/routing/data_plane_settings.h"
#include "gateway/routing/fleet.h"
#include "gateway/routing/rebalancer.h"
#include "gateway/routing/retry_budget.h"
#include "gateway/routing/router.h"
#include "gateway/unlock/unlocker.h"
#include "store/key_store.h"

namespace bulla {

// Thread-safe, but for Tick, which is for one thread.
class DataPlane {
 public:
  struct Options {
    std::vector<EnclaveSpec> enclaves;
    std::string credentials_file;
    std::string platform{kNitro};
    std::size_t deks_ahead_max = Unlocker::kDeksAheadMax;
    KeyPolicy key_policy = NothingWanted();
    std::vector<std::string> adopt_enclaves;  // addresses: see EnclaveLink::Options
    std::chrono::milliseconds probe_interval{1000};
  };

  // `settings`, `store`, `metrics` and the environment outlive it.
  DataPlane(Options options, const DataPlaneSettings& settings, KeyStore& store, Metrics& metrics,
            const Environment& environment);
  ~DataPlane();  // Stop()

  // Returns when it is known which keys are disabled, or patience has run out.
  void StartBlocking();
  // Ends every link; what is in flight is answered. Idempotent.
  void Stop();

  // Called every few milliseconds: everything here that has a clock.
  void Tick(MonotonicTime now) BULLA_EXCLUDES(mutex_);

  // What is asked of every enclave from now on. Does not block.
  void SetKeyPolicy(const KeyPolicy& policy) BULLA_EXCLUDES(mutex_);
  // Something has changed that may have been why KMS refused data keys: asks again at once. Does
  // not block.
  void RetryRefused();

  Router& router() { return router_; }
  Fleet& fleet() { return fleet_; }  // the enclaves, to be added, removed and weighed
  const Fleet& fleet() const { return fleet_; }
  Unlocker& unlocker() { return unlocker_; }
  const Unlocker& unlocker() const { return unlocker_; }
  RetryBudget& retry_budget() { return retry_budget_; }

 private:
  std::shared_ptr<EnclaveLink> MakeLink(const Address& address, std::uint32_t id)
      BULLA_EXCLUDES(mutex_);
  // Notices that the credentials were renewed.
  void LookAtCredentials(MonotonicTime now);

  const Options options_;
  const DataPlaneSettings& settings_;
  KeyStore& store_;
  const Environment environment_;
  const Clock& clock_;
  FileStamp credentials_;  // as they were at the last look; the ticking thread's own
  MonotonicTime next_credentials_look_;
  Mutex mutex_;
  KeyPolicy key_policy_ BULLA_GUARDED_BY(mutex_);
  PoolMetrics pool_metrics_;
  // In the order in which one stands on the other.
  DisabledKeys disabled_;
  RetryBudget retry_budget_;
  Unlocker unlocker_;
  Fleet fleet_;
  Router router_;
  Rebalancer rebalancer_;
  // Sends what was held back; the last to be made, the first to go.
  const std::unique_ptr<Timer> batch_timer_;
};

}  // namespace bulla
