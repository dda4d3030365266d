#pragma once

// The data keys (DEKs) that are open in this enclave, each for as long as it may be used. Past its
// soft TTL a DEK is reported to the gateway, which has KMS open it again; past its hard TTL it is
// wiped, and with it every key under it stops: a CMK that was disabled stops every signature within
// dek.ttl_hard.
//
// One of them, obtained by the enclave itself in this boot, is the sealing DEK: new keys are sealed
// under no other, so that a parent which can encrypt under the CMK cannot choose what protects new
// secrets.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "base/status.h"
#include "crypto/secret.h"
#include "crypto/secret_arena.h"
#include "wire/key_policy.h"

namespace bulla {

// Until when a DEK may be used. Shared by the keys that were opened with it, which look at each
// use, so that a renewal reaches all of them at once. Thread-safe.
class DekValidity {
 public:
  explicit DekValidity(MonotonicTime until) : until_(until.time_since_epoch().count()) {}

  MonotonicTime until() const {
    return MonotonicTime(Duration(until_.load(std::memory_order_acquire)));
  }

 private:
  friend class DekTable;  // under its lock
  void SetUntil(MonotonicTime until) {
    until_.store(until.time_since_epoch().count(), std::memory_order_release);
  }

  std::atomic<Duration::rep> until_;
};

// A DEK to open or seal a key with: a private copy, to be gone within microseconds.
struct DekLoan {
  DekId id;
  Secret<32> key;
  std::shared_ptr<const DekValidity> validity;
};

// What the gateway needs to know of the sealing DEK.
struct SealingDek {
  DekId id;
  Bytes wrapped;           // KMS CiphertextBlob, for the store
  std::string kms_key_id;  // ARN of the CMK
};

// Thread-safe.
class DekTable {
 public:
  // Each boot makes one DEK and each seals many keys: thousands are years of restarts.
  static constexpr std::uint32_t kOpenDeksMax = 16384;

  // RESOURCE_EXHAUSTED when there is no memory for secrets.
  static absl::StatusOr<std::unique_ptr<DekTable>> Create(const KeyPolicy& policy);

  // For one use now; nothing when that DEK is not open.
  std::optional<DekLoan> Borrow(const DekId& id, MonotonicTime now) const BULLA_EXCLUDES(mutex_);
  // Its deadline alone; null when it is not open.
  std::shared_ptr<const DekValidity> Validity(const DekId& id, MonotonicTime now) const
      BULLA_EXCLUDES(mutex_);

  // Whether KMS is to be asked for it: it is not open, or past its soft TTL.
  bool NeedsKms(const DekId& id, MonotonicTime now) const BULLA_EXCLUDES(mutex_);

  // Opens a DEK, or renews one that is open: its time runs from `asked_at`, when KMS was asked.
  // `random` spreads the soft TTL. DATA_LOSS when it is open with other bytes; RESOURCE_EXHAUSTED
  // at kOpenDeksMax.
  absl::Status Open(const DekId& id, const Secret<32>& key, MonotonicTime asked_at,
                    std::uint64_t random) BULLA_EXCLUDES(mutex_);

  // The same, and seals under it from now on.
  absl::Status OpenSealing(const SealingDek& dek, const Secret<32>& key, MonotonicTime asked_at,
                           std::uint64_t random) BULLA_EXCLUDES(mutex_);

  // Nothing before the first OpenSealing. Open or not.
  std::optional<SealingDek> sealing() const BULLA_EXCLUDES(mutex_);
  // To seal one key. Nothing when the sealing DEK has lapsed, or has sealed as many as one may
  // (kKeysPerDekMax of kms/sealed_key.h).
  std::optional<DekLoan> BorrowToSeal(MonotonicTime now) BULLA_EXCLUDES(mutex_);

  // Up to `max` DEKs that KMS should open again: past their soft TTL, and the sealing one when it
  // has lapsed. Each is named once; again when RenewalFailed() said so, or nothing came of it.
  std::vector<DekId> TakeRenewals(MonotonicTime now, std::size_t max) BULLA_EXCLUDES(mutex_);
  void RenewalFailed(const DekId& id) BULLA_EXCLUDES(mutex_);

  // Wipes what has lapsed. To be called every few milliseconds.
  void Advance(MonotonicTime now) BULLA_EXCLUDES(mutex_);
  // A tighter hard TTL holds for what is open already.
  void SetPolicy(const KeyPolicy& policy) BULLA_EXCLUDES(mutex_);

  std::size_t size() const BULLA_EXCLUDES(mutex_);
  LockedMemory locked_memory() const { return arena_->locked_memory(); }

 private:
  struct OpenDek {
    std::uint32_t slot = 0;  // of arena_
    std::shared_ptr<DekValidity> validity;
    MonotonicTime asked_at;
    MonotonicTime renew_at;
    std::optional<MonotonicTime> reported_at;
  };

  DekTable(const KeyPolicy& policy, std::unique_ptr<SecretArena> arena);
  // Null when it is not open at `now`.
  const OpenDek* Find(const DekId& id, MonotonicTime now) const BULLA_REQUIRES(mutex_);
  std::optional<DekLoan> Lend(const DekId& id, MonotonicTime now) const BULLA_REQUIRES(mutex_);
  absl::Status OpenLocked(const DekId& id, const Secret<32>& key, MonotonicTime asked_at,
                          std::uint64_t random) BULLA_REQUIRES(mutex_);
  // A report that nothing came of is made again after this.
  Duration ReportPatience() const BULLA_REQUIRES(mutex_);

  mutable Mutex mutex_;
  KeyPolicy policy_ BULLA_GUARDED_BY(mutex_);
  const std::unique_ptr<SecretArena> arena_;  // its slots by open_, under mutex_
  absl::flat_hash_map<DekId, OpenDek> open_ BULLA_GUARDED_BY(mutex_);
  MonotonicTime next_lapse_ BULLA_GUARDED_BY(mutex_) = MonotonicTime::max();  // or later

  std::optional<SealingDek> sealing_ BULLA_GUARDED_BY(mutex_);
  std::optional<MonotonicTime> sealing_reported_at_ BULLA_GUARDED_BY(mutex_);
  std::uint64_t seals_left_ BULLA_GUARDED_BY(mutex_) = 0;  // of sealing_
};

}  // namespace bulla
