// OpenSSL's streaming SHA-256 without its EVP layer, which costs more than the hash of such short
// inputs: deprecated since 3.0 in favour of that layer, and still there.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/rfc6979.h"

#include <algorithm>
#include <cstdint>
#include <openssl/sha.h>
#include <span>

#include "base/check.h"
#include "crypto/secret.h"

namespace bulla {
namespace {

constexpr std::size_t kBlockBytes = 64;

// The two hash states that an HMAC key stands for. Wiped when it goes.
class HmacKey {
 public:
  explicit HmacKey(const Secret<32>& key) {
    Secret<kBlockBytes> pad;
    auto fill = [&](std::uint8_t byte, SHA256_CTX& state) {
      std::ranges::fill(pad.Expose(), byte);
      for (std::size_t i = 0; i < Secret<32>::kBytes; ++i) pad.Expose()[i] ^= key.Expose()[i];
      SHA256_Init(&state);
      SHA256_Update(&state, pad.Expose().data(), kBlockBytes);
    };
    fill(0x36, inner_);
    fill(0x5c, outer_);
  }
  ~HmacKey() {
    WipeState(inner_);
    WipeState(outer_);
  }
  HmacKey(const HmacKey&) = delete;
  HmacKey& operator=(const HmacKey&) = delete;

  // The HMAC of the pieces one after the other; `out` may be one of them.
  void Compute(std::initializer_list<ByteSpan> pieces, Secret<32>& out) const {
    SHA256_CTX state = inner_;
    for (ByteSpan piece : pieces) SHA256_Update(&state, piece.data(), piece.size());
    Secret<32> digest;
    SHA256_Final(digest.Expose().data(), &state);
    state = outer_;
    SHA256_Update(&state, digest.Expose().data(), Secret<32>::kBytes);
    SHA256_Final(out.Expose().data(), &state);
    WipeState(state);
  }

 private:
  static void WipeState(SHA256_CTX& state) {
    Wipe({reinterpret_cast<std::uint8_t*>(&state), sizeof state});
  }

  SHA256_CTX inner_;
  SHA256_CTX outer_;
};

// The order of the group, big-endian.
constexpr ByteArray<32> kOrder = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                  0xff, 0xff, 0xff, 0xff, 0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48,
                                  0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41};

// a - b; requires that a is not less.
ByteArray<32> Difference(const ByteArray<32>& a, const ByteArray<32>& b) {
  ByteArray<32> difference;
  int borrow = 0;
  for (std::size_t i = difference.size(); i-- > 0;) {
    const int digit = a[i] - b[i] - borrow;
    borrow = digit < 0 ? 1 : 0;
    difference[i] = static_cast<std::uint8_t>(digit);
  }
  return difference;
}

constexpr std::uint8_t kZero[] = {0};
constexpr std::uint8_t kOne[] = {1};

}  // namespace

// 2^256 is less than twice the order, so one subtraction is enough.
ByteArray<32> ReducedVarTime(ByteSpan digest) {
  ByteArray<32> reduced;
  BULLA_CHECK(digest.size() == reduced.size(), "a digest of 32 bytes");
  std::ranges::copy(digest, reduced.begin());
  return reduced < kOrder ? reduced : Difference(reduced, kOrder);
}

int Rfc6979Nonce(unsigned char* nonce32, const unsigned char* msg32, const unsigned char* key32,
                 const unsigned char* algo16, void* data, unsigned int attempt) {
  BULLA_CHECK(algo16 == nullptr && data == nullptr, "plain ECDSA has no extra data");
  const ByteSpan key(key32, 32);
  const ByteArray<32> message = ReducedVarTime({msg32, 32});
  Secret<32> k;  // zeros: step c
  Secret<32> v;
  std::ranges::fill(v.Expose(), std::uint8_t{1});            // step b
  HmacKey(k).Compute({v.Expose(), kZero, key, message}, k);  // step d
  {
    const HmacKey hmac(k);
    hmac.Compute({v.Expose()}, v);                      // step e
    hmac.Compute({v.Expose(), kOne, key, message}, k);  // step f
  }
  {
    const HmacKey hmac(k);
    hmac.Compute({v.Expose()}, v);  // step g
    hmac.Compute({v.Expose()}, v);  // step h.2
  }
  for (unsigned int i = 0; i < attempt; ++i) {  // step h.3: that one was no good
    HmacKey(k).Compute({v.Expose(), kZero}, k);
    const HmacKey hmac(k);
    hmac.Compute({v.Expose()}, v);
    hmac.Compute({v.Expose()}, v);
  }
  std::ranges::copy(v.Expose(), nonce32);
  return 1;
}

}  // namespace bulla
