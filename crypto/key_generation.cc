#include "crypto/key_generation.h"

#include <algorithm>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string_view>

#include "base/random.h"

namespace bulla {
namespace {

// Another use of the same two sources must not give the same bytes.
constexpr std::string_view kLabel = "bulla secp256k1 secret key 1";

// A draw is out of range once in 2^128. Three in a row mean that a source or the machine is broken.
constexpr int kDrawsMax = 3;

}  // namespace

namespace internal {

absl::StatusOr<Secret<32>> MixEntropy(const Secret<64>& kernel_entropy, ByteSpan extra_entropy) {
  if (extra_entropy.size() < kExtraEntropyBytesMin ||
      extra_entropy.size() > kExtraEntropyBytesMax) {
    return absl::InvalidArgumentError(fmt::format("extra entropy: {} bytes, want {} to {}",
                                                  extra_entropy.size(), kExtraEntropyBytesMin,
                                                  kExtraEntropyBytesMax));
  }
  Secret<kLabel.size() + kExtraEntropyBytesMax> message;
  auto end = std::copy(kLabel.begin(), kLabel.end(), message.Expose().begin());
  std::copy(extra_entropy.begin(), extra_entropy.end(), end);
  Secret<64> mixed;
  unsigned length = 0;
  if (HMAC(EVP_sha512(), kernel_entropy.Expose().data(), Secret<64>::kBytes,
           message.Expose().data(), kLabel.size() + extra_entropy.size(), mixed.Expose().data(),
           &length) == nullptr) {
    return absl::InternalError("HMAC-SHA-512: OpenSSL failed");
  }
  Secret<32> key;
  std::copy_n(mixed.Expose().begin(), Secret<32>::kBytes, key.Expose().begin());
  return key;
}

}  // namespace internal

absl::StatusOr<Secret<32>> GenerateSecretKey(const Signer& signer, ByteSpan extra_entropy) {
  for (int draw = 0; draw < kDrawsMax; ++draw) {
    Secret<64> kernel_entropy;
    FillRandom(kernel_entropy.Expose());
    BULLA_ASSIGN_OR_RETURN(Secret<32> key, internal::MixEntropy(kernel_entropy, extra_entropy));
    if (signer.IsValidSecretKey(key)) return key;
  }
  return absl::InternalError("randomness: no valid secret key in three draws");
}

}  // namespace bulla
