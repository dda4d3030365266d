#include "enclave/key_cache.h"

#include <utility>

#include "base/random.h"

namespace bulla {
namespace {

std::size_t BudgetBytes(const KeyPolicy& policy) {
  return static_cast<std::size_t>(policy.memory_budget_mib) << 20;
}

}  // namespace

absl::StatusOr<std::unique_ptr<KeyCache>> KeyCache::Create(std::size_t locked_bytes,
                                                           const KeyPolicy& policy,
                                                           const DekTable& deks,
                                                           MonotonicTime start) {
  std::unique_ptr<KeyCache> cache(new KeyCache(locked_bytes, policy));
  for (auto& shard : cache->shards_) {
    BULLA_ASSIGN_OR_RETURN(std::unique_ptr<SecretArena> arena,
                           SecretArena::Create({.slot_bytes = Secret<32>::kBytes,
                                                .budget_bytes = locked_bytes / kShards}));
    cache->locked_memory_ = cache->locked_memory_ + arena->locked_memory();
    shard = std::make_unique<Shard>(start, std::move(arena), deks, policy,
                                    BudgetBytes(policy) / kShards);
  }
  return cache;
}

KeyCache::Answer KeyCache::Sign(const KeyId& id, MonotonicTime now, KeyLease& lease,
                                absl::FunctionRef<SignTask()> make_task) {
  Shard& shard = ShardOf(id);
  Answer answer;
  {
    MutexLock lock(shard.mutex);
    answer = shard.keys.Sign(id, now, lease, make_task);
  }
  if (answer.verdict == Verdict::kWaiting || answer.verdict == Verdict::kLeading) {
    waiters_maybe_.store(true, std::memory_order_release);
  }
  return answer;
}

void KeyCache::Load(const SealedKeyHeader& header, const SealedBlob& blob, MonotonicTime now) {
  Shard& shard = ShardOf(header.key_id);
  MutexLock lock(shard.mutex);
  shard.keys.Load(header, blob, now);
}

bool KeyCache::InsertWarm(const SealedKeyHeader& header, const SealedBlob& blob,
                          const OpenedSecret& opened, MonotonicTime now) {
  const std::uint64_t random = RandomUint64();
  Shard& shard = ShardOf(header.key_id);
  MutexLock lock(shard.mutex);
  return shard.keys.InsertWarm(header, blob, opened, now, random);
}

bool KeyCache::BlobOf(const KeyId& id, SealedBlob& blob) const {
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  return shard.keys.BlobOf(id, blob);
}

void KeyCache::Forget(const KeyId& id) {
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  shard.keys.Forget(id);
}

KeyCache::Released KeyCache::CompleteFlight(const KeyId& id, const OpenedSecret& opened,
                                            MonotonicTime now) {
  const std::uint64_t random = RandomUint64();
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  return shard.keys.CompleteFlight(id, opened, now, random);
}

KeyCache::Released KeyCache::LandFailed(const KeyId& id, ItemStatus status, MonotonicTime now) {
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  return shard.keys.LandFailed(id, status, now);
}

std::vector<SignTask> KeyCache::Advance(MonotonicTime now) {
  std::vector<SignTask> rehydrate_timeout;
  bool wipe = now - wiped_at_ >= kWipeInterval;
  if (wipe) wiped_at_ = now;
  if (!waiters_maybe_.exchange(false, std::memory_order_acquire) && !wipe) return rehydrate_timeout;
  bool waiters = false;
  for (auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    if (wipe) {
      shard->keys.Advance(now, rehydrate_timeout);
    } else {
      shard->keys.AdvanceWaiters(now, rehydrate_timeout);
    }
    waiters |= shard->keys.waiters() > 0;
  }
  if (waiters) waiters_maybe_.store(true, std::memory_order_release);
  return rehydrate_timeout;
}

void KeyCache::SetPolicy(const KeyPolicy& policy) {
  for (auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    shard->keys.SetPolicy(policy, BudgetBytes(policy) / kShards);
  }
  MutexLock lock(policy_mutex_);
  policy_ = policy;
}

KeyPolicy KeyCache::policy() const {
  MutexLock lock(policy_mutex_);
  return policy_;
}

std::vector<KeyId> KeyCache::KeysInUse(std::size_t part) const {
  std::vector<KeyId> ids;
  const Shard& shard = *shards_[part];
  MutexLock lock(shard.mutex);
  shard.keys.AppendKeysInUse(ids);
  return ids;
}

KeyShard::Counts KeyCache::CountsAt(MonotonicTime now) const {
  KeyShard::Counts sum;
  for (const auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    KeyShard::Counts counts = shard->keys.CountsAt(now);
    sum.warm += counts.warm;
    sum.cool += counts.cool;
    sum.invalid += counts.invalid;
    sum.waiters += counts.waiters;
    sum.secrets_evicted += counts.secrets_evicted;
    sum.blobs_evicted += counts.blobs_evicted;
    sum.memory_bytes += counts.memory_bytes;
    sum.locked_bytes += counts.locked_bytes;
  }
  return sum;
}

KeyShard::View KeyCache::ViewOf(const KeyId& id, MonotonicTime now) const {
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  return shard.keys.ViewOf(id, now);
}

}  // namespace bulla
