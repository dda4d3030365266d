#pragma once

// The key store: sealed keys and wrapped data keys, public parts beside them. It never sees a
// secret: a blob opens only in an enclave, a wrapped DEK only in KMS.
//
// Calls are asynchronous because a commit costs an fsync: writes are gathered and committed
// together (group commit), reads run on threads of the store's own. Interface ready for a second
// database.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/values.h"
#include "store/health.h"

namespace bulla {

// One store, and whoever shares it: made with it, and kept by its copies.
using StoreId = Uuid<struct StoreIdTag>;
struct StoreIdentity {
  StoreId id;
  WallTime created_at;
};

// One data key, as KMS wrapped it.
struct DekRow {
  DekId dek_id;
  Bytes wrapped;           // KMS CiphertextBlob, 1..6144 bytes
  std::string kms_key_id;  // ARN of the CMK that wrapped it
  WallTime created_at;
};

// One signing key: public metadata and its sealed blob.
struct KeyRow {
  KeyId key_id;
  DekId dek_id;  // the DEK that seals `blob`; its row must exist
  Bytes blob;    // kms/sealed_key.h
  PublicKey33 public_key{};
  std::string address;  // EIP-55
  WallTime created_at;
  bool enabled = true;
};

// By what name, and for what, a key was asked for: a repeat gets the key that stands.
struct Idempotency {
  std::string scope;        // whose name it is; empty while callers have no identities
  std::string key;          // the name
  std::string fingerprint;  // everything in the request that changes what is made
};

// What became of a key's `enabled`. One that was removed from the store counts as disabled.
struct KeyChange {
  std::int64_t sequence = 0;  // in the order of the changes, from 1
  KeyId key_id;
  bool enabled = false;  // now, whatever it was changed to then

  friend bool operator==(const KeyChange&, const KeyChange&) = default;
};

// Thread-safe. Every callback is called exactly once, on a thread of the store's, and must not
// block; it may be called before the function returns. After Close() new calls are answered with
// kUnavailable. A write that the store cannot make is UNAVAILABLE or so, and then `fault` says why
// while `done` is called.
class KeyStore {
 public:
  virtual ~KeyStore() = default;

  // Durable before `done(ok)`. Repeating the same dek_id is no error and changes nothing.
  virtual void PutDek(DekRow row, std::function<void(absl::Status)> done) = 0;

  // Durable before `done`. Yields the row that stands: the given one, or the one that the same
  // request made before under the same idempotency key. ALREADY_EXISTS when another request did:
  // nothing is kept then. FAILED_PRECONDITION when the DEK's row is missing.
  virtual void PutKey(KeyRow row, std::optional<Idempotency> idempotency,
                      std::function<void(absl::StatusOr<KeyRow>)> done) = 0;

  // Nothing found is an ok status with no value.
  virtual void FindKey(const KeyId& key_id,
                       std::function<void(absl::StatusOr<std::optional<KeyRow>>)> done) = 0;
  // What PutKey() would yield instead of a new row. ALREADY_EXISTS as there.
  virtual void FindKeyByIdempotency(
      const Idempotency& idempotency,
      std::function<void(absl::StatusOr<std::optional<KeyRow>>)> done) = 0;
  virtual void FindDek(const DekId& dek_id,
                       std::function<void(absl::StatusOr<std::optional<DekRow>>)> done) = 0;

  // The newest `limit` DEKs that seal at least one key, newest first.
  virtual void ListDeksInUse(std::size_t limit,
                             std::function<void(absl::StatusOr<std::vector<DekRow>>)> done) = 0;
  // Keys in the order of their ids, after `after` where given; at most `limit`. Blobs are left out.
  virtual void ListKeys(std::optional<KeyId> after, std::size_t limit,
                        std::function<void(absl::StatusOr<std::vector<KeyRow>>)> done) = 0;
  // The keys that were enabled, disabled or removed after the change `after`, whoever did it, in
  // the order of their last changes; at most `limit`. After 0: every key that is disabled, and some
  // that are not any more. Costs what there is to tell, not what the store holds.
  virtual void ListKeyChanges(std::int64_t after, std::size_t limit,
                              std::function<void(absl::StatusOr<std::vector<KeyChange>>)> done) = 0;
  virtual void CountKeys(std::function<void(absl::StatusOr<std::int64_t>)> done) = 0;

  virtual StoreIdentity identity() const = 0;
  // Whether it can write. `fault` alone is cheap enough for every create.
  virtual StoreFault fault() const = 0;
  virtual StoreHealth health() const = 0;

  // Finishes what was accepted, then closes. Idempotent; blocks.
  virtual void Close() = 0;
};

}  // namespace bulla
