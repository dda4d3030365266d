#pragma once

// Routes calls to enclaves: key id -> ring -> link. What an enclave cannot do yet it says, and the
// router sees to it: a missing blob is fetched from the store and sent ahead of the repeated call;
// a DEK that is not open is unlocked in the background while the caller is told to come back. What
// finds every slot of its enclave's streams taken is refused at once: nothing waits in the gateway.

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include <absl/container/flat_hash_set.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "base/wake_timer.h"
#include "gateway/enclave_link.h"
#include "gateway/hash_ring.h"
#include "gateway/signer_service.h"
#include "gateway/unlock_queue.h"
#include "store/key_store.h"

namespace bulla {

// Thread-safe.
class Router final : public SignerService, public LinkEvents {
 public:
  struct Options {
    std::vector<Address> enclaves;
    std::size_t streams_per_enclave = 16;
    SignBatcher::Options batch;
    std::string credentials_file;
    KeyPolicy key_policy = NothingWanted();
    std::chrono::milliseconds probe_interval{1000};
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
  void OnNeedBlob(EnclaveLink& link, SignCall* first) override;
  void OnNeedDek(EnclaveLink& link, SignCall* first) override;
  void OnLost(EnclaveLink& link, SignCall* first) override;
  void OnLinkReady(EnclaveLink& link) override;
  void OnLinkLost(EnclaveLink& link) override;
  void OnDeksToRenew(EnclaveLink& link, const std::vector<DekId>& deks) override;
  void OnWaiting(MonotonicTime due) override { batch_timer_.WakeBy(due); }

  // What is asked of every enclave from now on. Does not block.
  void SetKeyPolicy(const KeyPolicy& policy);

  // Called every few milliseconds: gives up what is past its deadline, starts unlocks that are due.
  void Tick(MonotonicTime now) BULLA_EXCLUDES(mutex_);

  std::size_t links_ready() const;
  std::size_t links() const { return links_.size(); }
  // Unlocks wanted and not done.
  std::size_t unlocks_pending() const BULLA_EXCLUDES(mutex_);
  // Nothing is being opened or about to be: what was in use before is usable in every enclave.
  bool settled() const BULLA_EXCLUDES(mutex_);
  std::vector<EnclaveLink::Status> LinkStatuses() const;

 private:
  std::vector<std::unique_ptr<EnclaveLink>> MakeLinks();
  // The ready link that the ring gives a key to; nothing when none is ready.
  EnclaveLink* LinkFor(const KeyId& key_id) const;
  void SendBlob(EnclaveLink& link, SignCall* call);
  void MakeKey(CreateCall call, KeyDone done);
  void StoreKey(const EnclaveLink& link, const KeyId& key_id, CreateCall call, CreateReply reply,
                KeyDone done);
  // The first key under a DEK: its siblings open it too, so that failing over needs no KMS.
  void ShareDek(const EnclaveLink& owner, const DekId& dek_id) BULLA_EXCLUDES(mutex_);
  void WantUnlock(std::size_t link, const DekId& dek_id) BULLA_EXCLUDES(mutex_);
  void StartUnlocks(MonotonicTime now) BULLA_EXCLUDES(mutex_);
  void FinishUnlock(const UnlockQueue::Task& task, const absl::Status& status)
      BULLA_EXCLUDES(mutex_);
  // For a DEK that is not in the store.
  void GiveUpUnlock(const UnlockQueue::Task& task, MonotonicTime now) BULLA_EXCLUDES(mutex_);

  const Options options_;
  KeyStore& store_;
  const Clock& clock_;
  const HashRing ring_;
  const std::vector<std::unique_ptr<EnclaveLink>> links_;
  std::atomic<bool> stopping_{false};  // what is lost then has nowhere to go

  mutable Mutex mutex_;
  UnlockQueue unlocks_ BULLA_GUARDED_BY(mutex_);
  absl::flat_hash_set<DekId> shared_deks_ BULLA_GUARDED_BY(mutex_);
  int dek_lists_awaited_ BULLA_GUARDED_BY(mutex_) = 0;  // asked of the store, for new links

  MonotonicTime missing_dek_silence_until_ BULLA_GUARDED_BY(mutex_);

  prometheus::Counter& unlock_started_;
  prometheus::Counter& unlock_total_;
  prometheus::Counter& unlock_failed_;
  prometheus::Histogram& unlock_latency_;

  WakeTimer batch_timer_;  // sends what was held back; the last to be made, the first to go
};

}  // namespace bulla
