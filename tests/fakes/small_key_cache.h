#pragma once

// A table of DEKs and a cache of keys as tests want them: small, and on any machine.

#include <memory>

#include "base/check.h"
#include "enclave/key_cache.h"

namespace bulla {

inline std::unique_ptr<DekTable> NewDekTable(const KeyPolicy& policy = {}) {
  absl::StatusOr<std::unique_ptr<DekTable>> deks = DekTable::Create(policy);
  BULLA_CHECK(deks.ok(), "memory for the secrets of a test");
  return *std::move(deks);
}

// Makes a DEK and seals under it, as if the gateway had stored it at once.
inline void SealUnderNew(DekTable& deks, const DekId& id, const Secret<32>& key,
                         MonotonicTime now) {
  BULLA_CHECK(deks.AddSealing({id, Bytes(1, 1), "arn"}, key, now, 0).ok(), "a new DEK");
  BULLA_CHECK(deks.SealUnder(id, now).ok(), "it is durable");
}

inline std::unique_ptr<KeyCache> NewKeyCache(const DekTable& deks, MonotonicTime start,
                                             const KeyPolicy& policy = {},
                                             std::size_t locked_bytes = 1 << 20) {
  absl::StatusOr<std::unique_ptr<KeyCache>> cache =
      KeyCache::Create(locked_bytes, policy, deks, start);
  BULLA_CHECK(cache.ok(), "memory for the secrets of a test");
  return *std::move(cache);
}

}  // namespace bulla
