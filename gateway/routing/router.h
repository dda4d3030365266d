#pragma once

// Routes signatures to enclaves: key id -> ring -> link. What an enclave cannot do yet it says, and
// the router sees to it: a missing blob is fetched from the store and sent ahead of the retried
// call; a DEK that is not open is unlocked in the background while the caller is told to come back.
//
// What an enclave does not answer is retried in another, since signing is deterministic: at most
// so often and so long as RetrySettings say, as far as the retry budget goes. What
// finds no room is refused at once: nothing queues in the gateway.

#include <array>
#include <atomic>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "gateway/call/call_list.h"
#include "gateway/call/signer_service.h"
#include "gateway/link/disabled_keys.h"
#include "gateway/link/enclave_link.h"
#include "gateway/routing/coalescing_fetch.h"
#include "gateway/routing/fleet.h"
#include "gateway/routing/retry.h"
#include "gateway/routing/retry_budget.h"
#include "gateway/unlock/unlocker.h"
#include "store/key_store.h"

namespace bulla {

// Thread-safe.
class Router final : public LinkEvents {
 public:
  // What it routes over and with; all of it outlives the router.
  struct Parts {
    Fleet& fleet;
    Unlocker& unlocker;
    DisabledKeys& disabled;
    RetryBudget& retry_budget;
    const RetrySettings& settings;
    KeyStore& store;
    const Clock& clock;
    // SendDue() is to be called at the time given. Called on any thread; must not block.
    std::function<void(MonotonicTime)> send_due_at;
  };

  Router(Parts parts, Metrics& metrics);
  ~Router() override;

  // As SignerService::Sign.
  void Sign(SignCall* first);

  // For the links alone.
  void OnNeedBlob(EnclaveLink& link, SignCall* first) override BULLA_EXCLUDES(mutex_);
  void OnNeedDek(EnclaveLink& link, SignCall* first) override BULLA_EXCLUDES(mutex_);
  void OnRehydrateTimeout(EnclaveLink& link, SignCall* first) override;
  void OnLost(EnclaveLink& link, SignCall* first) override;
  void OnLinkConnected(EnclaveLink& link) override;
  void OnLinkLost(EnclaveLink& link) override;
  void OnSealingDekFailed(EnclaveLink& link, UnlockCause cause) override;
  void OnDeksToRenew(EnclaveLink& link, const std::vector<DekId>& deks) override;
  void OnWaiting(MonotonicTime due) override { parts_.send_due_at(due); }

  // Called every few milliseconds: gives up what is past its deadline, and has what an enclave does
  // not answer retried elsewhere.
  void Tick(MonotonicTime now) BULLA_EXCLUDES(mutex_);
  // Sends what was held back to travel together, as far as its time has come. Returns when the next
  // is due; max() when nothing waits.
  MonotonicTime SendDue(MonotonicTime now);
  // From now on nothing is retried, and what waits for a tick is answered. Idempotent.
  void Stop() BULLA_EXCLUDES(mutex_);

 private:
  // Lists of calls by the member of a table that they go to.
  class Sorted;

  // Sends each call to its key's enclave.
  void Route(SignCall* first);
  // Finds each call's enclave. Those that may not be retried, or for which there is none, are
  // answered with `otherwise`.
  void Retry(EnclaveLink& from, SignCall* first, RetryReason reason, ErrorCode otherwise);
  void FetchBlob(EnclaveLink& link, const KeyId& key_id);
  void SendBlob(EnclaveLink& link, const KeyId& key_id, const Bytes* blob, ErrorCode otherwise)
      BULLA_EXCLUDES(mutex_);
  void TimeOutTries(const Fleet::Table& table, MonotonicTime now);

  const Parts parts_;
  std::atomic<bool> stopping_{false};  // what is lost then has nowhere to go
  MonotonicTime last_tick_;            // the ticking thread's own

  Mutex mutex_;
  CoalescingFetch blob_fetch_ BULLA_GUARDED_BY(mutex_);
  CallList deferred_ BULLA_GUARDED_BY(mutex_);  // until the next tick, for blobs that are under way

  std::array<prometheus::Counter*, 3> retried_;  // by RetryReason
  prometheus::Counter& retries_refused_;
  prometheus::Counter& cross_enclave_;
  prometheus::Counter& blobs_sent_;
};

}  // namespace bulla
