#pragma once

// The keys that this enclave holds. An entry is WARM while its plain key is in memory, COOL when
// only its sealed blob is (its DEK, open elsewhere in the enclave, brings it back without a network
// call). A plain key is used at most `uses_max` times and for at most `plain_ttl`; then it is wiped
// and the entry is COOL again.
//
// Sharded by key id, one short lock a shard: a signature holds it for the copy of 32 bytes.

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include <absl/container/flat_hash_map.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "crypto/secret.h"
#include "crypto/signer.h"

namespace bulla {

// What a signature needs: a private copy of the plain key, and the point to verify with.
struct WarmKey {
  Secret<32> secret;
  PublicPoint point;
};

// Thread-safe.
class KeyCache {
 public:
  struct Options {
    Duration plain_ttl = std::chrono::minutes(16);  // spec: plain key, hard TTL
    std::uint32_t uses_max = 1'000'000;             // spec: uses of a plain key
    std::size_t keys_max = 1'000'000;               // about 400 bytes each
  };

  struct Counts {
    std::uint64_t warm = 0;
    std::uint64_t cool = 0;
  };

  explicit KeyCache(Options options) : options_(options) {}

  // A WARM key, one use of it taken. Nothing when the key is COOL or not here.
  std::optional<WarmKey> TakeUse(const KeyId& id, MonotonicTime now);

  // The sealed blob, for rehydration. Empty when the key is not here.
  Bytes Blob(const KeyId& id) const;

  // Takes in a key as COOL; a key that is here already keeps its state.
  void PutBlob(const KeyId& id, Bytes blob);

  // Makes a key WARM, with all its uses and its whole time before it.
  void PutWarm(const KeyId& id, Bytes blob, const Secret<32>& secret, const PublicPoint& point,
               MonotonicTime now);

  Counts counts() const;

 private:
  static constexpr std::size_t kShards = 64;

  struct Entry {
    std::optional<WarmKey> warm;
    MonotonicTime hard_deadline;
    std::uint32_t uses_left = 0;
    Bytes blob;
  };
  struct Shard {
    mutable Mutex mutex;
    absl::flat_hash_map<KeyId, Entry> entries BULLA_GUARDED_BY(mutex);
  };

  Shard& ShardOf(const KeyId& id) { return shards_[id.bytes[15] % kShards]; }
  const Shard& ShardOf(const KeyId& id) const { return shards_[id.bytes[15] % kShards]; }
  // The entry of `id`, made if need be; another is dropped when the shard is full. The gateway
  // sends a dropped key's blob again when it is asked for.
  Entry& Insert(Shard& shard, const KeyId& id) BULLA_REQUIRES(shard.mutex);

  const Options options_;
  std::array<Shard, kShards> shards_;
};

}  // namespace bulla
