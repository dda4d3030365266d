#pragma once

// The blob of one signing key: what the store keeps and the gateway carries, and what only an
// enclave with the right data key (DEK) can open. docs/formats.md describes it byte by byte.
//
// Everything in it but the ciphertext is readable and authenticated, so that no blob can pass for
// another key's; and the public key is derived again from what comes out and compared.

#include "base/ids.h"
#include "base/status.h"
#include "base/values.h"
#include "crypto/secret.h"
#include "crypto/signer.h"

namespace bulla {

// mark, key id, DEK id, public key, nonce, ciphertext, tag
inline constexpr std::size_t kSealedKeyBytes = 4 + 16 + 16 + 33 + 12 + 32 + 16;

// How many keys may be sealed under one DEK. Nonces are 96 random bits, and NIST SP 800-38D
// (section 8.3) allows 2^32 of those under one key, at which a repeat has a chance of 2^-33. This
// keeps it below 2^-49.
inline constexpr std::uint64_t kKeysPerDekMax = std::uint64_t{1} << 24;

// What a blob says of its key. Not secret.
struct SealedKeyHeader {
  KeyId key_id;
  DekId dek_id;
  PublicKey33 public_key{};

  friend bool operator==(const SealedKeyHeader&, const SealedKeyHeader&) = default;
};

// The blob of `key`, kSealedKeyBytes long, sealed under `dek`, with a fresh nonce each time.
// Requires: header.public_key is the key's own, and `dek` has sealed fewer than kKeysPerDekMax.
absl::StatusOr<Bytes> SealKey(const Secret<32>& dek, const SealedKeyHeader& header,
                              const Secret<32>& key);

// Reads the header without opening, so says nothing of its truth. INVALID_ARGUMENT when the length
// or the mark is wrong.
absl::StatusOr<SealedKeyHeader> ParseSealedKey(ByteSpan blob);

struct OpenedKey {
  Secret<32> key;
  PublicPoint point;
};

// Opens the blob of `expected`. INVALID_ARGUMENT when it is malformed or another key's; DATA_LOSS
// when `dek` is not the one that sealed it, a bit has changed, or the key in it does not have the
// public key that it says.
absl::StatusOr<OpenedKey> OpenSealedKey(const Secret<32>& dek, ByteSpan blob, const KeyId& expected,
                                        const Signer& signer);

}  // namespace bulla
