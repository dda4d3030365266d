#pragma once

// Opens DEKs in enclaves, in the background: gateway/unlock/queue says which and when, this looks
// them up and has the enclave do it.

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "base/unlock_cause.h"
#include "gateway/link/enclave_link.h"
#include "gateway/link/environment.h"
#include "gateway/unlock/queue.h"
#include "store/key_store.h"

namespace bulla {

// Thread-safe.
class Unlocker {
 public:
  // DEKs opened in an enclave as soon as it is there, those used last first; the rest when asked
  // for.
  static constexpr std::size_t kDeksAheadMax = 64;

  Unlocker(std::size_t deks_ahead_max, const UnlockSettings& settings, KeyStore& store,
           Metrics& metrics, const Environment& environment);

  // An enclave is connected: from now on its DEKs can be opened, and those in use are.
  void Attach(const std::shared_ptr<EnclaveLink>& link) BULLA_EXCLUDES(mutex_);
  // It is gone. What was wanted of it is asked for anew when it is back; until then each attempt
  // would only fail.
  void Detach(const EnclaveLink& link) BULLA_EXCLUDES(mutex_);

  // Nothing is done for an enclave that is not attached.
  void Want(const EnclaveLink& link, const DekId& dek_id) BULLA_EXCLUDES(mutex_);
  // The DEK of a key that an enclave cannot open. Looks at the store once for a key, however many
  // ask. Returns what they are to be told: kUnlockRequired, or how KMS refuses that DEK.
  ErrorCode WantFor(const EnclaveLink& link, const KeyId& key_id) BULLA_EXCLUDES(mutex_);
  // A key was sealed under a DEK for the first time: the other enclaves open it too, so that
  // failing over needs no KMS.
  void Share(std::uint32_t owner, const DekId& dek_id) BULLA_EXCLUDES(mutex_);

  // Whether an enclave is known to have the DEK of a key open. May be out of date; false for a key
  // that no enclave was refused lately.
  bool Holds(std::uint32_t enclave, const KeyId& key_id) const BULLA_EXCLUDES(mutex_);

  // Something has changed that may have been why KMS refused: asks again at once.
  void RetryRefused() BULLA_EXCLUDES(mutex_);
  // An enclave could not get a DEK to seal under; counted here with the rest.
  void CountFailure(UnlockCause cause);

  // Called every few milliseconds: starts what is due.
  void Tick(MonotonicTime now) BULLA_EXCLUDES(mutex_);

  struct Progress {
    std::size_t pending = 0;  // wanted and not done, those under way among them
    std::size_t running = 0;
    std::uint64_t done = 0;  // since the start
    std::uint64_t failed = 0;
  };
  Progress progress() const BULLA_EXCLUDES(mutex_);
  // Data keys that KMS refuses to open for an enclave, by cause.
  std::map<UnlockCause, std::size_t> Refused(std::uint32_t enclave) const BULLA_EXCLUDES(mutex_);
  // Nothing is being opened or about to be: what was in use before is usable, or KMS refuses it. Of
  // one enclave, or of all.
  bool settled(const EnclaveLink& link) const BULLA_EXCLUDES(mutex_);
  bool settled() const BULLA_EXCLUDES(mutex_);

 private:
  struct Enclave {
    std::shared_ptr<EnclaveLink> link;
    absl::flat_hash_set<DekId> open;  // as far as is known
    bool list_awaited = false;        // of the DEKs in use
  };

  void WantId(std::uint32_t enclave, const DekId& dek_id) BULLA_EXCLUDES(mutex_);
  void Start(MonotonicTime now) BULLA_EXCLUDES(mutex_);
  void Open(const UnlockQueue::Task& task, const DekRow& dek, MonotonicTime begin)
      BULLA_EXCLUDES(mutex_);
  void Finish(const UnlockQueue::Task& task, const absl::Status& status) BULLA_EXCLUDES(mutex_);
  // For a DEK that is not in the store.
  void GiveUp(const UnlockQueue::Task& task) BULLA_EXCLUDES(mutex_);
  std::string LinkName(std::uint32_t enclave) const BULLA_REQUIRES(mutex_);

  const std::size_t deks_ahead_max_;
  KeyStore& store_;
  const Environment environment_;
  const Clock& clock_;

  mutable Mutex mutex_;
  UnlockQueue queue_ BULLA_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::uint32_t, Enclave> enclaves_ BULLA_GUARDED_BY(mutex_);
  // Each DEK that was shared, and the DEK of each key that was refused lately; nothing while the
  // store is asked. Bounded: emptied when it is full.
  absl::flat_hash_set<DekId> shared_ BULLA_GUARDED_BY(mutex_);
  absl::flat_hash_map<KeyId, std::optional<DekId>> dek_of_ BULLA_GUARDED_BY(mutex_);
  MonotonicTime missing_dek_silence_until_ BULLA_GUARDED_BY(mutex_);
  std::uint64_t done_ BULLA_GUARDED_BY(mutex_) = 0;
  std::uint64_t failed_ BULLA_GUARDED_BY(mutex_) = 0;

  prometheus::Counter& started_total_;
  prometheus::Counter& done_total_;
  prometheus::Counter& failed_total_;
  std::array<prometheus::Counter*, kUnlockCauseCount> failed_by_cause_{};
  prometheus::Histogram& latency_;
};

}  // namespace bulla
