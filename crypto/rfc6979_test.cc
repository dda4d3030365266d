#include "crypto/rfc6979.h"

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>

#include <secp256k1.h>

#include "base/random.h"

namespace bulla {
namespace {

using Bytes32 = ByteArray<32>;

// The library that is installed may be one that does not reduce digests: it is shown reduced ones.
Bytes32 Reduced(const Bytes32& message) {
  Bytes32 order;
  HexDecode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", order);
  Bytes32 result = message;
  if (std::ranges::lexicographical_compare(message, order)) return result;
  int carry = 1;  // plus the complement of the order is minus the order
  for (std::size_t i = 32; i-- > 0;) {
    const int sum = message[i] + (0xff - order[i]) + carry;
    result[i] = static_cast<std::uint8_t>(sum & 0xff);
    carry = sum >> 8;
  }
  return result;
}

void ExpectSameNonce(const Bytes32& message, const Bytes32& key, unsigned attempt) {
  Bytes32 ours{};
  Bytes32 theirs{};
  ASSERT_EQ(Rfc6979Nonce(ours.data(), message.data(), key.data(), nullptr, nullptr, attempt), 1);
  ASSERT_EQ(secp256k1_nonce_function_rfc6979(theirs.data(), Reduced(message).data(), key.data(),
                                             nullptr, nullptr, attempt),
            1);
  ASSERT_EQ(ours, theirs) << "message " << HexEncode(message) << ", key " << HexEncode(key)
                          << ", attempt " << attempt;
}

// BULLA_NONCES=5000000 for a longer look.
TEST(Rfc6979, NoncesAreThoseOfTheLibraryBitByBit) {
  const char* wanted = std::getenv("BULLA_NONCES");
  const long count = wanted != nullptr ? std::atol(wanted) : 200'000;
  Bytes32 message;
  Bytes32 key;
  for (long i = 0; i < count; ++i) {
    FillRandom(message);
    FillRandom(key);
    ExpectSameNonce(message, key, static_cast<unsigned>(i % 16 == 0 ? i / 16 % 4 : 0));
    if (HasFatalFailure()) return;
  }
}

TEST(Rfc6979, NoncesOfEdgesAreThoseOfTheLibrary) {
  std::vector<Bytes32> edges;
  for (std::uint8_t fill : ByteArray<5>{0x00, 0x01, 0x7f, 0x80, 0xff}) {
    Bytes32 all;
    all.fill(fill);
    edges.push_back(all);
    for (std::size_t i : {std::size_t{0}, std::size_t{15}, std::size_t{31}}) {
      Bytes32 one = all;
      one[i] = static_cast<std::uint8_t>(one[i] ^ 1);
      edges.push_back(one);
    }
  }
  Bytes32 order;
  HexDecode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", order);
  for (std::uint8_t last : ByteArray<3>{0x40, 0x41, 0x42}) {  // the order, and beside it
    order[31] = last;
    edges.push_back(order);
  }
  for (const Bytes32& message : edges) {
    for (const Bytes32& key : edges) {
      for (unsigned attempt : {0u, 1u, 2u, 7u}) ExpectSameNonce(message, key, attempt);
    }
  }
}

}  // namespace
}  // namespace bulla
