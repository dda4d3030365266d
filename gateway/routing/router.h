#pragma once

// Routes calls to enclaves: key id -> ring -> link. What an enclave cannot do yet it says, and the
// router sees to it: a missing blob is fetched from the store and sent ahead of the repeated call;
// a DEK that is not open is unlocked in the background while the caller is told to come back.
//
// What an enclave does not answer is repeated in another, since signing is deterministic: at most
// SignCall::kRetriesMax times and kRetryTimeout in all, as far as the retry budget goes. What
// finds no room is refused at once: nothing queues in the gateway.

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/file_stamp.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "base/wake_timer.h"
#include "gateway/call/signer_service.h"
#include "gateway/link/disabled_keys.h"
#include "gateway/link/enclave_link.h"
#include "gateway/routing/coalescing_fetch.h"
#include "gateway/routing/fleet.h"
#include "gateway/routing/rebalancer.h"
#include "gateway/routing/retry.h"
#include "gateway/routing/retry_budget.h"
#include "gateway/unlock/unlocker.h"
#include "store/key_store.h"

namespace bulla {

// Thread-safe.
class Router final : public SignerService, public LinkEvents {
 public:
  // An enclave that has not answered a signature by then is taken to be stuck, when there is
  // another that could answer: a hundred times what it takes.
  static constexpr std::chrono::milliseconds kPerTryTimeout{100};

  struct Options {
    std::vector<EnclaveSpec> enclaves;
    StreamPool::Options pool;
    std::string credentials_file;
    std::string platform{kNitro};
    std::size_t deks_ahead_max = Unlocker::kDeksAheadMax;
    KeyPolicy key_policy = NothingWanted();
    std::vector<std::string> adopt_enclaves;  // addresses: see EnclaveLink::Options
    std::chrono::milliseconds probe_interval{1000};
    // Between two steps of a weight on its way: Fleet::kSteps of them.
    std::chrono::milliseconds step_interval{500};
  };

  Router(Options options, KeyStore& store, Metrics& metrics, const Clock& clock);
  ~Router() override;

  void Start();
  // Ends every link; what is in flight is answered. Idempotent.
  void Stop();

  void Sign(SignCall* first) override;
  void Create(CreateCall call, KeyDone done) override;
  void GetKey(const KeyId& key_id, KeyDone done) override;

  // For the links alone.
  void OnNeedBlob(EnclaveLink& link, SignCall* first) override BULLA_EXCLUDES(mutex_);
  void OnNeedDek(EnclaveLink& link, SignCall* first) override BULLA_EXCLUDES(mutex_);
  void OnRehydrateTimeout(EnclaveLink& link, SignCall* first) override;
  void OnLost(EnclaveLink& link, SignCall* first) override;
  void OnLinkConnected(EnclaveLink& link) override;
  void OnLinkLost(EnclaveLink& link) override;
  void OnSealingDekFailed(EnclaveLink& link, UnlockCause cause) override;
  void OnDeksToRenew(EnclaveLink& link, const std::vector<DekId>& deks) override;
  void OnWaiting(MonotonicTime due) override { batch_timer_.WakeBy(due); }

  // What is asked of every enclave from now on. Does not block.
  void SetKeyPolicy(const KeyPolicy& policy) BULLA_EXCLUDES(mutex_);

  // Something has changed that may have been why KMS refused data keys: asks again at once. Does
  // not block.
  void RetryRefused();

  // Called every few milliseconds: gives up what is past its deadline, takes back what is stuck,
  // judges the enclaves, starts unlocks that are due.
  void Tick(MonotonicTime now) BULLA_EXCLUDES(mutex_);

  // The enclaves, to be added, removed and weighed.
  Fleet& fleet() { return fleet_; }
  const Fleet& fleet() const { return fleet_; }
  const Unlocker& unlocker() const { return unlocker_; }

 private:
  // Lists of calls by the member of a table that they go to.
  class Sorted;

  // Sends each call to its key's enclave.
  void Route(SignCall* first);
  std::shared_ptr<EnclaveLink> MakeLink(const Address& address, std::uint32_t id);
  // Finds each call's enclave. Those that may not be repeated, or for which there is none, are
  // answered with `otherwise`.
  void Retry(EnclaveLink& from, SignCall* first, RetryReason reason, ErrorCode otherwise);
  void FetchBlob(EnclaveLink& link, const KeyId& key_id);
  void SendBlob(EnclaveLink& link, const KeyId& key_id, const Bytes* blob, ErrorCode otherwise)
      BULLA_EXCLUDES(mutex_);
  void MakeKey(CreateCall call, KeyDone done, bool again);
  // Why no enclave makes keys, when KMS refuses all of them what they would seal it under; else
  // nothing more than the code says.
  Error CannotMakeKeys(ErrorCode code) const;
  void StoreKey(std::uint32_t enclave, const KeyId& key_id, CreateCall call, CreateReply reply,
                KeyDone done);
  // Notices that the credentials were renewed.
  void LookAtCredentials(MonotonicTime now);
  void TimeOutTries(const Fleet::Table& table, MonotonicTime now);

  const Options options_;
  KeyStore& store_;
  const Clock& clock_;
  std::atomic<bool> stopping_{false};  // what is lost then has nowhere to go
  RetryBudget retry_budget_;
  MonotonicTime last_tick_;
  FileStamp credentials_;  // as they were at the last look; the ticking thread's own
  MonotonicTime next_credentials_look_;

  Mutex mutex_;
  CoalescingFetch blob_fetch_ BULLA_GUARDED_BY(mutex_);
  CallList deferred_ BULLA_GUARDED_BY(mutex_);  // until the next tick, for blobs that are under way
  KeyPolicy key_policy_ BULLA_GUARDED_BY(mutex_);

  std::array<prometheus::Counter*, 3> retried_;  // by RetryReason
  prometheus::Counter& retries_refused_;
  prometheus::Counter& cross_enclave_;
  prometheus::Counter& blobs_sent_;
  PoolMetrics pool_metrics_;

  DisabledKeys disabled_;
  Unlocker unlocker_;
  Fleet fleet_;
  Rebalancer rebalancer_;
  WakeTimer batch_timer_;  // sends what was held back; the last to be made, the first to go
};

}  // namespace bulla
