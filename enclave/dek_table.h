#pragma once

// The data keys (DEKs) that are open in this enclave, each for as long as it may be used. Past its
// soft TTL a DEK is reported to the gateway, which has KMS open it again; past its hard TTL it is
// wiped, and with it every key under it stops: a CMK that was disabled stops every signature within
// dek.ttl_hard.
//
// New keys are sealed under a DEK that this enclave's own GenerateDataKey returned in this boot,
// and under no other, so that a parent which can encrypt under the CMK cannot choose what protects
// new secrets (ADR 15). Such a DEK is marked when it is made, and opening cannot set the mark: what
// lapsed and is opened again opens blobs, and seals nothing. Whatever a DEK's id was opened from
// first in a boot, it is opened from nothing else.

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
#include "kms/sealed_key.h"
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
struct DekLease {
  DekId id;
  Secret<32> key;
  std::shared_ptr<const DekValidity> validity;
};

// A DEK that the enclave has made to seal under: what the gateway needs to know of it.
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
  // DEKs that were ever open in a boot: 2 MiB of tags. No gateway has reason for more.
  static constexpr std::size_t kKnownDeksMax = 4 * std::size_t{kOpenDeksMax};
  // With this share of its keys left to seal, the next sealing DEK is made: two minutes of creating
  // at full speed.
  static constexpr std::uint64_t kSealsLeftDivisor = 16;

  // RESOURCE_EXHAUSTED when there is no memory for secrets. `seals_max`: keys under one DEK.
  static absl::StatusOr<std::unique_ptr<DekTable>> Create(const KeyPolicy& policy,
                                                          std::uint64_t seals_max = kKeysPerDekMax);

  // For one use now; nothing when that DEK is not open.
  std::optional<DekLease> Acquire(const DekId& id, MonotonicTime now) const BULLA_EXCLUDES(mutex_);
  // Its deadline alone; null when it is not open.
  std::shared_ptr<const DekValidity> Validity(const DekId& id, MonotonicTime now) const
      BULLA_EXCLUDES(mutex_);

  // What KMS is to open for a DEK that the gateway sends as `wrapped`: this, or for one that the
  // enclave seals under its own bytes. Nothing when there is nothing to do, since it is open and
  // not past its soft TTL. INVALID_ARGUMENT when it was opened from other bytes in this boot.
  absl::StatusOr<std::optional<Bytes>> BytesForKms(const DekId& id, ByteSpan wrapped,
                                                   MonotonicTime now) const BULLA_EXCLUDES(mutex_);

  // Opens a DEK with what KMS made of `wrapped`, or renews one that is open: its time runs from
  // `asked_at`, when KMS was asked. `random` spreads the soft TTL. INVALID_ARGUMENT as above;
  // DATA_LOSS when it is open with another key; RESOURCE_EXHAUSTED at a bound.
  absl::Status Open(const DekId& id, ByteSpan wrapped, const Secret<32>& key,
                    MonotonicTime asked_at, std::uint64_t random) BULLA_EXCLUDES(mutex_);

  // Opens a DEK that KMS has just generated for this enclave, under an id that it has chosen by
  // itself: the next to seal under. INTERNAL when the id is known already.
  absl::Status AddSealing(SealingDek dek, const Secret<32>& key, MonotonicTime asked_at,
                          std::uint64_t random) BULLA_EXCLUDES(mutex_);
  // The gateway has made it durable: seals under it from now on. FAILED_PRECONDITION when it is not
  // the one to be stored.
  absl::Status SealUnder(const DekId& id, MonotonicTime now) BULLA_EXCLUDES(mutex_);
  // The DEK that is to be durable: the next to seal under, or else the one in use. Nothing when a
  // new one is to be made.
  std::optional<SealingDek> sealing(MonotonicTime now) const BULLA_EXCLUDES(mutex_);
  // Whether something is to be done so that keys can be sealed in the next minute too: a DEK to be
  // made, or to be stored.
  bool WantsSealing(MonotonicTime now) const BULLA_EXCLUDES(mutex_);
  // To seal one key. Nothing when there is no DEK to seal under: it has lapsed, or has sealed as
  // many as one may (kKeysPerDekMax of kms/sealed_key.h).
  std::optional<DekLease> AcquireToSeal(MonotonicTime now) BULLA_EXCLUDES(mutex_);

  // Up to `max` DEKs past their soft TTL, which KMS should open again. Each is named once; again
  // when RenewalFailed() said so, or nothing came of it.
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
    bool made_here = false;  // by AddSealing alone
    std::shared_ptr<DekValidity> validity;
    MonotonicTime asked_at;
    MonotonicTime renew_at;
    std::optional<MonotonicTime> reported_at;
  };

  struct Sealing {
    SealingDek dek;
    std::uint64_t seals_left = 0;
  };
  using Tag = ByteArray<16>;

  DekTable(const KeyPolicy& policy, std::uint64_t seals_max, std::unique_ptr<SecretArena> arena);
  // Null when it is not open at `now`.
  const OpenDek* Find(const DekId& id, MonotonicTime now) const BULLA_REQUIRES(mutex_);
  std::optional<DekLease> Lease(const DekId& id, MonotonicTime now) const BULLA_REQUIRES(mutex_);
  // Whether keys may be sealed under it: it is open, made here, and not used up.
  bool Seals(const std::optional<Sealing>& sealing, MonotonicTime now) const BULLA_REQUIRES(mutex_);
  bool IsSealing(const std::optional<Sealing>& sealing, const DekId& id) const
      BULLA_REQUIRES(mutex_) {
    return sealing && sealing->dek.id == id;
  }
  Tag TagOf(const DekId& id, ByteSpan wrapped) const;
  // INVALID_ARGUMENT when this id belongs to other bytes.
  absl::Status CheckBytes(const DekId& id, const Tag& tag) const BULLA_REQUIRES(mutex_);
  // One that is not open.
  absl::StatusOr<OpenDek*> Add(const DekId& id, const Tag& tag, const Secret<32>& key)
      BULLA_REQUIRES(mutex_);
  void SetTimes(OpenDek& dek, MonotonicTime asked_at, std::uint64_t random) BULLA_REQUIRES(mutex_);
  bool NearlyUsedUp(const Sealing& sealing) const {
    return sealing.seals_left < seals_max_ / kSealsLeftDivisor;
  }
  // A report that nothing came of is made again after this.
  Duration ReportPatience() const BULLA_REQUIRES(mutex_);

  const std::uint64_t seals_max_;
  mutable Mutex mutex_;
  KeyPolicy policy_ BULLA_GUARDED_BY(mutex_);
  const std::unique_ptr<SecretArena> arena_;  // its slots by open_, under mutex_
  absl::flat_hash_map<DekId, OpenDek> open_ BULLA_GUARDED_BY(mutex_);
  MonotonicTime next_lapse_ BULLA_GUARDED_BY(mutex_) = MonotonicTime::max();  // or later

  // What each DEK was opened from, as a tag that nobody outside can make or aim at.
  Secret<32> tag_key_;  // of this boot; not changed
  absl::flat_hash_map<DekId, Tag> known_ BULLA_GUARDED_BY(mutex_);

  std::optional<Sealing> sealing_ BULLA_GUARDED_BY(mutex_);  // durable
  std::optional<Sealing> next_ BULLA_GUARDED_BY(mutex_);     // not yet
};

}  // namespace bulla
