#include "kms/sealed_key.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/random.h"
#include "crypto/aead.h"

namespace bulla {
namespace {

// Three letters against mistaken files, and the version of the format.
constexpr ByteArray<4> kMark = {'B', 'S', 'K', 1};

constexpr std::size_t kKeyIdAt = kMark.size();
constexpr std::size_t kDekIdAt = kKeyIdAt + KeyId::kBytes;
constexpr std::size_t kPublicKeyAt = kDekIdAt + DekId::kBytes;
constexpr std::size_t kNonceAt = kPublicKeyAt + PublicKey33().size();
constexpr std::size_t kCiphertextAt = kNonceAt + kAeadNonceBytes;
constexpr std::size_t kEnd = kCiphertextAt + Secret<32>::kBytes + kAeadTagBytes;
static_assert(kEnd == kSealedKeyBytes);

}  // namespace

absl::StatusOr<Bytes> SealKey(const Secret<32>& dek, const SealedKeyHeader& header,
                              const Secret<32>& key) {
  // Random, not counted: an enclave has no memory that outlives it to keep a counter in, and
  // kKeysPerDekMax keeps repeats out of reach.
  ByteArray<kAeadNonceBytes> nonce;
  FillRandom(nonce);

  Bytes blob(kSealedKeyBytes);
  std::copy(kMark.begin(), kMark.end(), blob.begin());
  std::copy(header.key_id.bytes.begin(), header.key_id.bytes.end(), blob.begin() + kKeyIdAt);
  std::copy(header.dek_id.bytes.begin(), header.dek_id.bytes.end(), blob.begin() + kDekIdAt);
  std::copy(header.public_key.begin(), header.public_key.end(), blob.begin() + kPublicKeyAt);
  std::copy(nonce.begin(), nonce.end(), blob.begin() + kNonceAt);
  BULLA_RETURN_IF_ERROR(AeadSeal(dek, nonce, ByteSpan(blob).first(kCiphertextAt), key.Expose(),
                                 MutableByteSpan(blob).subspan(kCiphertextAt)));
  return blob;
}

absl::StatusOr<SealedKeyHeader> ParseSealedKey(ByteSpan blob) {
  if (blob.size() != kSealedKeyBytes) {
    return absl::InvalidArgumentError(
        fmt::format("sealed key: {} bytes, want {}", blob.size(), kSealedKeyBytes));
  }
  if (!std::equal(kMark.begin(), kMark.end(), blob.begin())) {
    return absl::InvalidArgumentError(fmt::format("sealed key: begins with {}, want {}",
                                                  HexEncode(blob.first(kMark.size())),
                                                  HexEncode(kMark)));
  }
  SealedKeyHeader header;
  header.key_id = KeyId::FromBytes(blob.subspan(kKeyIdAt, KeyId::kBytes));
  header.dek_id = DekId::FromBytes(blob.subspan(kDekIdAt, DekId::kBytes));
  std::copy_n(blob.begin() + kPublicKeyAt, header.public_key.size(), header.public_key.begin());
  return header;
}

absl::StatusOr<OpenedKey> OpenSealedKey(const Secret<32>& dek, ByteSpan blob, const KeyId& expected,
                                        const Signer& signer) {
  BULLA_ASSIGN_OR_RETURN(SealedKeyHeader header, ParseSealedKey(blob));
  if (header.key_id != expected) {
    return absl::InvalidArgumentError(
        fmt::format("sealed key: of key {}, want {}", header.key_id.Short(), expected.Short()));
  }
  ByteArray<kAeadNonceBytes> nonce;
  std::copy_n(blob.begin() + kNonceAt, nonce.size(), nonce.begin());
  OpenedKey opened;
  BULLA_RETURN_IF_ERROR(AeadOpen(dek, nonce, blob.first(kCiphertextAt), blob.subspan(kCiphertextAt),
                                 opened.key.Expose()));
  absl::StatusOr<PublicPoint> point = signer.DerivePublic(opened.key);
  if (!point.ok() || signer.Compress(*point) != header.public_key) {
    return absl::DataLossError("sealed key: holds a key other than the public key says");
  }
  opened.point = *point;
  return opened;
}

}  // namespace bulla
