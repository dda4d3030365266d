#pragma once

// What an enclave does with keys: make one, take one in, sign with one. This is the only code that
// touches plain keys outside crypto/. It owns no thread: workers call it, a batch at a time.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/clock.h"
#include "crypto/signer.h"
#include "enclave/dek_table.h"
#include "enclave/key_cache.h"
#include "wire/codec.h"

namespace bulla {

// Thread-safe.
class KeyOperations {
 public:
  struct Counts {
    std::uint64_t signatures = 0;
    std::uint64_t keys_created = 0;
    std::uint64_t rehydrations = 0;
  };

  // A second source of randomness for new keys, 32 to 256 bytes: NSM GetRandom in production.
  using EntropySource = std::function<absl::StatusOr<Bytes>()>;

  KeyOperations(const Signer& signer, KeyCache& cache, DekTable& deks, EntropySource entropy,
                const Clock& clock);

  // Signs `items`, all of which arrived at `received`, and appends one reply each to `replies`. An
  // item whose budget has run out is dropped unsigned. The engine's one entry: a single signature
  // is a batch of one.
  void SignBatch(std::span<const SignItem> items, MonotonicTime received,
                 std::vector<SignReply>& replies);

  // Makes a key with the given id, seals it under the sealing DEK, keeps it WARM.
  CreateReply Create(const CreateItem& item);

  // Takes in a sealed key as COOL. False when it is not a sealed key at all.
  bool Load(Bytes blob);

  Counts counts() const;

 private:
  SignReply SignOne(const SignItem& item, MonotonicTime now);
  // Brings a COOL key back: blob and DEK give the plain key. Sets `status` where it cannot.
  std::optional<WarmKey> Rehydrate(const KeyId& id, MonotonicTime now, ItemStatus& status);

  const Signer& signer_;
  KeyCache& cache_;
  DekTable& deks_;
  const EntropySource entropy_;
  const Clock& clock_;
  // Counts only; nothing is ordered by them.
  std::atomic<std::uint64_t> signatures_{0};
  std::atomic<std::uint64_t> keys_created_{0};
  std::atomic<std::uint64_t> rehydrations_{0};
};

}  // namespace bulla
