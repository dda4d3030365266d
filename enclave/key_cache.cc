#include "enclave/key_cache.h"

#include <utility>

namespace bulla {

std::optional<WarmKey> KeyCache::TakeUse(const KeyId& id, MonotonicTime now) {
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  auto it = shard.entries.find(id);
  if (it == shard.entries.end() || !it->second.warm) return std::nullopt;
  Entry& entry = it->second;
  if (now >= entry.hard_deadline || entry.uses_left == 0) {
    entry.warm.reset();  // wipes
    return std::nullopt;
  }
  --entry.uses_left;
  return WarmKey{entry.warm->secret.Duplicate(), entry.warm->point};
}

Bytes KeyCache::Blob(const KeyId& id) const {
  const Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  auto it = shard.entries.find(id);
  return it == shard.entries.end() ? Bytes() : it->second.blob;
}

KeyCache::Entry& KeyCache::Insert(Shard& shard, const KeyId& id) {
  auto it = shard.entries.find(id);
  if (it != shard.entries.end()) return it->second;
  if (shard.entries.size() >= options_.keys_max / kShards + 1) {
    shard.entries.erase(shard.entries.begin());
  }
  return shard.entries[id];
}

void KeyCache::PutBlob(const KeyId& id, Bytes blob) {
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  Insert(shard, id).blob = std::move(blob);
}

void KeyCache::PutWarm(const KeyId& id, Bytes blob, const Secret<32>& secret,
                       const PublicPoint& point, MonotonicTime now) {
  Shard& shard = ShardOf(id);
  MutexLock lock(shard.mutex);
  Entry& entry = Insert(shard, id);
  entry.warm = WarmKey{secret.Duplicate(), point};
  entry.hard_deadline = now + options_.plain_ttl;
  entry.uses_left = options_.uses_max;
  entry.blob = std::move(blob);
}

KeyCache::Counts KeyCache::counts() const {
  Counts counts;
  for (const Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    for (const auto& [id, entry] : shard.entries) ++(entry.warm ? counts.warm : counts.cool);
  }
  return counts;
}

}  // namespace bulla
