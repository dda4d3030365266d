#include "crypto/address.h"

#include <algorithm>

#include <secp256k1.h>

#include "crypto/keccak.h"

namespace bulla {

Address20 AddressOf(const ByteArray<64>& coordinates) {
  ByteArray<32> digest = Keccak256(coordinates);
  Address20 address;
  std::copy(digest.end() - 20, digest.end(), address.begin());
  return address;
}

absl::StatusOr<Address20> AddressOf(const PublicKey33& public_key) {
  secp256k1_pubkey point;
  if (!secp256k1_ec_pubkey_parse(secp256k1_context_static, &point, public_key.data(),
                                 public_key.size())) {
    return absl::InvalidArgumentError("public key: not a point of secp256k1");
  }
  ByteArray<65> uncompressed;
  std::size_t length = uncompressed.size();
  secp256k1_ec_pubkey_serialize(secp256k1_context_static, uncompressed.data(), &length, &point,
                                SECP256K1_EC_UNCOMPRESSED);
  ByteArray<64> coordinates;
  std::copy(uncompressed.begin() + 1, uncompressed.end(), coordinates.begin());
  return AddressOf(coordinates);
}

std::string ToEip55(const Address20& address) {
  std::string digits = HexEncode(address);
  ByteArray<32> digest = Keccak256(AsBytes(digits));
  for (std::size_t i = 0; i < digits.size(); ++i) {
    int nibble = i % 2 == 0 ? digest[i / 2] >> 4 : digest[i / 2] & 0xf;
    if (nibble >= 8 && digits[i] >= 'a') digits[i] = static_cast<char>(digits[i] - 'a' + 'A');
  }
  return "0x" + digits;
}

}  // namespace bulla
