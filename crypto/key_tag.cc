// As in crypto/rfc6979: the EVP layer costs more than the hash.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/key_tag.h"

#include <algorithm>
#include <openssl/sha.h>

namespace bulla {

ByteArray<16> KeyTagger::Tag(const Secret<32>& key, const ByteArray<64>& point) const {
  SHA256_CTX state;
  SHA256_Init(&state);
  SHA256_Update(&state, tag_key_.Expose().data(), Secret<32>::kBytes);
  SHA256_Update(&state, key.Expose().data(), Secret<32>::kBytes);
  SHA256_Update(&state, point.data(), point.size());
  ByteArray<32> digest;
  SHA256_Final(digest.data(), &state);
  Wipe({reinterpret_cast<std::uint8_t*>(&state), sizeof state});
  ByteArray<16> tag;
  std::copy_n(digest.begin(), tag.size(), tag.begin());
  return tag;
}

bool KeyTagger::Matches(const Secret<32>& key, const ByteArray<64>& point,
                        const ByteArray<16>& tag) const {
  return ConstantTimeEquals(Tag(key, point), tag);
}

}  // namespace bulla
