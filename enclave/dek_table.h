#pragma once

// The data keys that are open in this enclave. One of them, obtained by the enclave itself in this
// boot, is the sealing DEK: new keys are sealed under no other, so that a parent which can encrypt
// under the CMK cannot choose what protects new secrets.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <absl/container/flat_hash_map.h>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "base/status.h"
#include "crypto/secret.h"

namespace bulla {

struct OpenDek {
  DekId id;
  Secret<32> key;
};

struct SealingDek {
  std::shared_ptr<const OpenDek> dek;
  Bytes wrapped;           // KMS CiphertextBlob, for the store
  std::string kms_key_id;  // ARN of the CMK
};

// Thread-safe. What it hands out stays valid while it is held.
class DekTable {
 public:
  // Null when that DEK is not open.
  std::shared_ptr<const OpenDek> Find(const DekId& id) const BULLA_EXCLUDES(mutex_);

  // Opens a DEK for rehydration. Adding one that is open changes nothing. ResourceExhausted at
  // kOpenDeksMax.
  absl::Status Add(const DekId& id, Secret<32> key) BULLA_EXCLUDES(mutex_);

  // Opens a DEK and seals under it from now on.
  absl::Status AddSealing(const DekId& id, Secret<32> key, Bytes wrapped, std::string kms_key_id)
      BULLA_EXCLUDES(mutex_);

  // Nothing before the first AddSealing.
  std::optional<SealingDek> sealing() const BULLA_EXCLUDES(mutex_);
  // The same, to seal one key under it. Nothing either once it has sealed as many as one may
  // (kKeysPerDekMax of kms/sealed_key.h).
  std::optional<SealingDek> TakeSeal() BULLA_EXCLUDES(mutex_);
  std::size_t size() const BULLA_EXCLUDES(mutex_);

  // Each boot makes one DEK and each seals many keys: thousands are years of restarts. 64 bytes
  // each.
  static constexpr std::size_t kOpenDeksMax = 16384;

 private:
  mutable Mutex mutex_;
  absl::flat_hash_map<DekId, std::shared_ptr<const OpenDek>> open_ BULLA_GUARDED_BY(mutex_);
  std::optional<SealingDek> sealing_ BULLA_GUARDED_BY(mutex_);
  std::uint64_t seals_left_ BULLA_GUARDED_BY(mutex_) = 0;  // of sealing_
};

}  // namespace bulla
