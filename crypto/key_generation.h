#pragma once

// New secret keys, drawn from two sources of randomness at once so that either alone suffices: the
// kernel's, and one that the caller brings (an enclave: NSM GetRandom).

#include "base/status.h"
#include "crypto/secret.h"
#include "crypto/signer.h"

namespace bulla {

// What the second source must bring: no less than the key's own strength, no more than NSM gives.
inline constexpr std::size_t kExtraEntropyBytesMin = 32;
inline constexpr std::size_t kExtraEntropyBytesMax = 256;

// A key in 1 .. n-1. INVALID_ARGUMENT when `extra_entropy` is outside the limits above: a second
// source that has run dry must not go unseen.
absl::StatusOr<Secret<32>> GenerateSecretKey(const Signer& signer, ByteSpan extra_entropy);

namespace internal {

// HMAC-SHA-512 under `kernel_entropy` of a fixed label and `extra_entropy`, the first half of it.
// HMAC is a pseudorandom function of either input while the other is known.
absl::StatusOr<Secret<32>> MixEntropy(const Secret<64>& kernel_entropy, ByteSpan extra_entropy);

}  // namespace internal
}  // namespace bulla
