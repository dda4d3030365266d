#pragma once

// AES-256-GCM (NIST SP 800-38D), by which one key protects another. A nonce must never be used
// twice under one key: whoever calls says why it is not.

#include "base/status.h"
#include "crypto/secret.h"

namespace bulla {

inline constexpr std::size_t kAeadNonceBytes = 12;
inline constexpr std::size_t kAeadTagBytes = 16;
// What is sealed here are keys and messages of a few kilobytes.
inline constexpr std::size_t kAeadTextBytesMax = 1 << 20;

// Writes ciphertext || tag. `associated` is authenticated and not written.
// INVALID_ARGUMENT when `sealed` is not exactly plaintext.size() + kAeadTagBytes, or over the
// limit.
absl::Status AeadSeal(const Secret<32>& key, const ByteArray<kAeadNonceBytes>& nonce,
                      ByteSpan associated, ByteSpan plaintext, MutableByteSpan sealed);

// Reverses AeadSeal. DATA_LOSS when a bit of anything differs from what was sealed; `plaintext` is
// all zero after every error. INVALID_ARGUMENT when `plaintext` is not exactly
// sealed.size() - kAeadTagBytes.
absl::Status AeadOpen(const Secret<32>& key, const ByteArray<kAeadNonceBytes>& nonce,
                      ByteSpan associated, ByteSpan sealed, MutableByteSpan plaintext);

}  // namespace bulla
