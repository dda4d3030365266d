#pragma once

// The keys of the local KMS: AES-256 keys with an ARN, each in a file of its own (0600) that is
// durable before the key is shown to anyone; and the sealing of what callers wrap under them.
// A development tool: nothing here is in the enclave.

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "crypto/secret.h"

namespace bulla {

struct CustomerKey {
  std::string id;   // a UUID
  std::string arn;  // arn:aws:kms:<region>:<account>:key/<id>
  std::string description;
  WallTime created_at;
  Secret<32> key;
};

// Thread-safe. The keys that it returns live as long as it does and do not change.
class KeyRing {
 public:
  static constexpr std::string_view kAccount = "000000000000";
  static constexpr std::size_t kDescriptionBytesMax = 8192;  // KMS's limit
  static constexpr std::size_t kKeysMax = 10000;

  // Reads every key in `dir`, which is made where it is missing. FAILED_PRECONDITION for a file
  // that is not one of ours, or is damaged.
  static absl::StatusOr<std::unique_ptr<KeyRing>> Open(const std::string& dir,
                                                       const std::string& region);

  // A new key, durable when this returns.
  absl::StatusOr<const CustomerKey*> Create(std::string description, WallTime now)
      BULLA_EXCLUDES(mutex_);
  // By id or ARN; null when there is none.
  const CustomerKey* Find(std::string_view id_or_arn) const BULLA_EXCLUDES(mutex_);
  // In the order of their ids, which is that of their making.
  std::vector<const CustomerKey*> List() const BULLA_EXCLUDES(mutex_);

 private:
  KeyRing(std::string dir, std::string region) : dir_(std::move(dir)), region_(std::move(region)) {}
  std::string Arn(std::string_view id) const;
  absl::Status Load(const std::string& path);
  absl::Status Write(const CustomerKey& key) const;

  const std::string dir_;
  const std::string region_;
  mutable Mutex mutex_;
  std::map<std::string, std::unique_ptr<CustomerKey>, std::less<>> keys_ BULLA_GUARDED_BY(mutex_);
};

// What a caller says about a ciphertext, and must say again to open it. The order of the entries
// does not matter: a map has one.
using EncryptionContext = std::map<std::string, std::string>;

inline constexpr std::size_t kPlaintextBytesMax = 4096;   // KMS's limit for Encrypt
inline constexpr std::size_t kCiphertextBytesMax = 6144;  // KMS's limit for a CiphertextBlob

// Plain text on its way through: secret, of a length known when it runs.
struct Plaintext {
  Secret<kPlaintextBytesMax> bytes;
  std::size_t size = 0;

  ByteSpan Expose() const { return ByteSpan(bytes.Expose()).first(size); }
};

// A CiphertextBlob: AES-256-GCM under `key`, with the key's ARN in front and both the ARN and
// `context` authenticated. Requires: plaintext.size() <= kPlaintextBytesMax.
absl::StatusOr<Bytes> SealUnderKey(const CustomerKey& key, const EncryptionContext& context,
                                   ByteSpan plaintext);
// The ARN in a blob, not yet authenticated. INVALID_ARGUMENT when it is no blob of ours.
absl::StatusOr<std::string> CiphertextKeyArn(ByteSpan blob);
// INVALID_ARGUMENT when blob, key and context do not belong together.
absl::StatusOr<Plaintext> OpenUnderKey(const CustomerKey& key, const EncryptionContext& context,
                                       ByteSpan blob);

}  // namespace bulla
