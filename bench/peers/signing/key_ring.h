#pragma once

// Keys in memory and signatures by Debian's libsecp256k1: what a signer that somebody writes in a
// week is made of. Nothing is sealed, stored or wiped.

#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>

#include <absl/container/flat_hash_map.h>

#include "base/ids.h"
#include "base/values.h"

struct secp256k1_context_struct;

namespace peers {

struct NewKey {
  bulla::KeyId id;
  bulla::PublicKey33 public_key{};
  bulla::Address20 address{};
};

// Thread-safe.
class KeyRing {
 public:
  // `verify`: each signature is checked before it leaves, as Bulla's are.
  explicit KeyRing(bool verify);
  ~KeyRing();

  NewKey Create();
  // RFC 6979, low s. Nothing when there is no such key, or the signature does not verify.
  std::optional<bulla::RecoverableSignature> Sign(const bulla::KeyId& id,
                                                  const bulla::Digest32& digest) const;

  // The file that the library was loaded from.
  static std::string LibraryPath();

 private:
  struct Key;

  const bool verify_;
  secp256k1_context_struct* const context_;
  mutable std::shared_mutex mutex_;
  absl::flat_hash_map<bulla::KeyId, std::unique_ptr<const Key>> keys_;  // guarded by mutex_
};

}  // namespace peers
