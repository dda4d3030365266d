#include "crypto/aead.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace bulla {
namespace {

Bytes FromHex(std::string_view hex) {
  Bytes bytes(hex.size() / 2);
  EXPECT_TRUE(HexDecode(hex, bytes)) << hex;
  return bytes;
}

// Test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation".
struct Vector {
  Secret<32> key;
  ByteArray<12> nonce{};
  Bytes associated = FromHex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  Bytes plaintext = FromHex(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
  Bytes sealed = FromHex(
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
      "76fc6ece0f4e1768cddf8853bb2d551b");

  Vector() {
    HexDecode("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", key.Expose());
    HexDecode("cafebabefacedbaddecaf888", nonce);
  }
};

TEST(Aead, AgreesWithPublishedVectors) {
  Vector v;
  Bytes sealed(v.sealed.size());
  EXPECT_EQ(AeadSeal(v.key, v.nonce, v.associated, v.plaintext, sealed), absl::OkStatus());
  EXPECT_EQ(sealed, v.sealed);
  Bytes plaintext(v.plaintext.size());
  EXPECT_EQ(AeadOpen(v.key, v.nonce, v.associated, v.sealed, plaintext), absl::OkStatus());
  EXPECT_EQ(plaintext, v.plaintext);

  // Test case 13: nothing at all under the zero key.
  Bytes tag(kAeadTagBytes);
  EXPECT_EQ(AeadSeal(Secret<32>(), ByteArray<12>{}, {}, {}, tag), absl::OkStatus());
  EXPECT_EQ(HexEncode(tag), "530f8afbc74536b9a963b4f1c4cb738b");
  EXPECT_EQ(AeadOpen(Secret<32>(), ByteArray<12>{}, {}, tag, {}), absl::OkStatus());
}

// Flips each bit of `bytes` in turn and expects `open` to refuse, with nothing in the output.
template <typename Container, typename Open>
void ExpectEveryBitCounts(Container& bytes, Open open) {
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    Bytes plaintext(60, 0xaa);
    EXPECT_EQ(open(plaintext).code(), absl::StatusCode::kDataLoss) << bit;
    EXPECT_EQ(plaintext, Bytes(60)) << bit;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
  }
}

TEST(Aead, OpenFailsClosedWhateverBitIsChanged) {
  Vector v;
  auto open = [&](Bytes& plaintext) {
    return AeadOpen(v.key, v.nonce, v.associated, v.sealed, plaintext);
  };
  ExpectEveryBitCounts(v.sealed, open);
  ExpectEveryBitCounts(v.associated, open);
  ExpectEveryBitCounts(v.nonce, open);
  auto key = v.key.Expose();
  ExpectEveryBitCounts(key, open);
  Bytes plaintext(60);
  EXPECT_EQ(open(plaintext), absl::OkStatus()) << "all bits are as they were";
}

TEST(Aead, SizesMustBeExact) {
  Vector v;
  for (std::size_t size : {v.sealed.size() - 1, v.sealed.size() + 1, std::size_t{0}}) {
    Bytes sealed(size);
    EXPECT_EQ(AeadSeal(v.key, v.nonce, v.associated, v.plaintext, sealed).code(),
              absl::StatusCode::kInvalidArgument);
  }
  for (std::size_t size : {v.plaintext.size() - 1, v.plaintext.size() + 1, std::size_t{0}}) {
    Bytes plaintext(size, 0xaa);
    EXPECT_EQ(AeadOpen(v.key, v.nonce, v.associated, v.sealed, plaintext).code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(plaintext, Bytes(size));
  }
  for (std::size_t size = 0; size < kAeadTagBytes; ++size) {  // no room for a tag
    EXPECT_FALSE(AeadOpen(v.key, v.nonce, {}, Bytes(size), {}).ok()) << size;
  }
}

TEST(Aead, TakesTheLimitAndRefusesOneByteMore) {
  Bytes plaintext(kAeadTextBytesMax, 1);
  Bytes sealed(kAeadTextBytesMax + kAeadTagBytes);
  EXPECT_EQ(AeadSeal(Secret<32>(), ByteArray<12>{}, {}, plaintext, sealed), absl::OkStatus());
  plaintext.push_back(1);
  sealed.push_back(1);
  EXPECT_EQ(AeadSeal(Secret<32>(), ByteArray<12>{}, {}, plaintext, sealed).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace bulla
