#pragma once

// The keys that this enclave holds, 64 shards of them by key id, each behind a short lock: a
// signature holds it for the copy of 32 bytes. What a shard does is in key_shard.h, what may be
// done with a key in key_state.h.

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "enclave/key_shard.h"

namespace bulla {

// Thread-safe.
class KeyCache {
 public:
  using Answer = KeyShard::Answer;
  using Released = KeyShard::Released;
  using Verdict = KeyShard::Verdict;

  // `locked_bytes` for plain keys, 32 bytes each. `deks` outlives it. RESOURCE_EXHAUSTED when there
  // is no memory for secrets.
  static absl::StatusOr<std::unique_ptr<KeyCache>> Create(std::size_t locked_bytes,
                                                          const KeyPolicy& policy,
                                                          const DekTable& deks,
                                                          MonotonicTime start);

  // Plain keys are wiped within two of these after their time; 100 ms are promised.
  static constexpr Duration kWipeInterval = std::chrono::milliseconds(10);

  // As KeyShard's.
  Answer Sign(const KeyId& id, MonotonicTime now, KeyLease& lease,
              absl::FunctionRef<SignTask()> make_task);
  void Load(const SealedKeyHeader& header, const SealedBlob& blob, MonotonicTime now);
  bool InsertWarm(const SealedKeyHeader& header, const SealedBlob& blob, const OpenedSecret& opened,
                  MonotonicTime now);
  bool BlobOf(const KeyId& id, SealedBlob& blob) const;
  void Forget(const KeyId& id);
  Released CompleteFlight(const KeyId& id, const OpenedSecret& opened, MonotonicTime now);
  Released LandFailed(const KeyId& id, ItemStatus status, MonotonicTime now);

  // Wipes what is due and returns the signatures that have waited for their keys as long as they
  // may. To be called every kWipeInterval, and every SingleFlight::kTick while somebody waits; the
  // calls between look at the waiters only.
  std::vector<SignTask> Advance(MonotonicTime now);
  // Whether somebody waits for a key, or did at the last Advance().
  bool waiting() const { return waiters_maybe_.load(std::memory_order_acquire); }

  // What is tighter in it holds for the keys that are here already. After the DekTable's.
  void SetPolicy(const KeyPolicy& policy);
  KeyPolicy policy() const BULLA_EXCLUDES(policy_mutex_);

  KeyShard::Counts CountsAt(MonotonicTime now) const;
  // The WARM keys of one of kParts parts, so that nobody waits long for a lock.
  static constexpr std::size_t kParts = 64;
  std::vector<KeyId> KeysInUse(std::size_t part) const;
  KeyShard::View ViewOf(const KeyId& id, MonotonicTime now) const;
  std::size_t locked_budget_bytes() const { return locked_bytes_; }
  const LockedMemory& locked_memory() const { return locked_memory_; }

 private:
  static constexpr std::size_t kShards = kParts;

  struct Shard {
    Shard(MonotonicTime start, std::unique_ptr<SecretArena> arena, const DekTable& deks,
          const KeyPolicy& policy, std::size_t share_bytes)
        : keys(start, std::move(arena), deks, policy, share_bytes) {}
    mutable Mutex mutex;
    KeyShard keys BULLA_GUARDED_BY(mutex);
  };

  KeyCache(std::size_t locked_bytes, const KeyPolicy& policy)
      : locked_bytes_(locked_bytes), policy_(policy) {}
  Shard& ShardOf(const KeyId& id) const { return *shards_[id.bytes[15] % kShards]; }

  const std::size_t locked_bytes_;
  LockedMemory locked_memory_;
  std::array<std::unique_ptr<Shard>, kShards> shards_;
  std::atomic<bool> waiters_maybe_{false};  // set by whoever takes one in, after doing so
  MonotonicTime wiped_at_{};                // of the thread that calls Advance()

  mutable Mutex policy_mutex_;
  KeyPolicy policy_ BULLA_GUARDED_BY(policy_mutex_);
};

}  // namespace bulla
