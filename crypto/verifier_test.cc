#include "crypto/verifier.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

// Secret key 1, SHA-256("Satoshi Nakamoto"); published.
struct Signed {
  PublicKey33 public_key{};
  Digest32 digest{};
  RecoverableSignature signature;

  Signed() {
    HexDecode("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", public_key);
    HexDecode("a0dc65ffca799873cbea0ac274015b9526505daaaed385155425f7337704883e", digest);
    HexDecode(
        "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
        "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5",
        signature.rs);
    signature.recovery_id = 1;
  }
};

// The twin (r, n - s), which plain ECDSA takes as well.
ByteArray<64> WithHighS(ByteArray<64> rs) {
  ByteArray<32> order{};
  HexDecode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", order);
  int borrow = 0;
  for (std::size_t i = 32; i-- > 0;) {
    int difference = order[i] - rs[32 + i] - borrow;
    borrow = difference < 0;
    rs[32 + i] = static_cast<std::uint8_t>(difference);
  }
  return rs;
}

TEST(Verifier, AgreesWithAPublishedSignature) {
  Signed s;
  EXPECT_TRUE(VerifySignature(s.public_key, s.digest, s.signature.rs));
  absl::StatusOr<PublicKey33> recovered = RecoverPublicKey(s.digest, s.signature);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ(*recovered, s.public_key);
}

TEST(Verifier, AnyChangedBitIsRefused) {
  Signed s;
  for (std::size_t bit = 0; bit < 64 * 8; ++bit) {
    ByteArray<64> rs = s.signature.rs;
    rs[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    EXPECT_FALSE(VerifySignature(s.public_key, s.digest, rs)) << bit;
  }
  for (std::size_t bit = 0; bit < 32 * 8; ++bit) {
    Digest32 digest = s.digest;
    digest[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    EXPECT_FALSE(VerifySignature(s.public_key, digest, s.signature.rs)) << bit;
  }
}

TEST(Verifier, AHighSIsRefused) {
  Signed s;
  ByteArray<64> high = WithHighS(s.signature.rs);
  EXPECT_FALSE(VerifySignature(s.public_key, s.digest, high));
  EXPECT_TRUE(VerifySignature(s.public_key, s.digest, WithHighS(high))) << "the twin's twin";
}

TEST(Verifier, SignaturesAndKeysOutOfRangeAreRefused) {
  Signed s;
  for (int fill : {0x00, 0xff}) {
    RecoverableSignature out_of_range;
    out_of_range.rs.fill(static_cast<std::uint8_t>(fill));
    EXPECT_FALSE(VerifySignature(s.public_key, s.digest, out_of_range.rs));
    EXPECT_FALSE(RecoverPublicKey(s.digest, out_of_range).ok());
  }
  EXPECT_FALSE(VerifySignature(PublicKey33{}, s.digest, s.signature.rs));
}

TEST(Verifier, ARecoveryIdChoosesTheKeyAndMustBeZeroToThree) {
  Signed s;
  s.signature.recovery_id = 0;
  absl::StatusOr<PublicKey33> other = RecoverPublicKey(s.digest, s.signature);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_NE(*other, s.public_key);
  // 2 and 3 say that r overflowed the group's order, which is impossible for this r.
  for (int id : {2, 3, 4, 27, 255}) {
    s.signature.recovery_id = static_cast<std::uint8_t>(id);
    EXPECT_EQ(RecoverPublicKey(s.digest, s.signature).status().code(),
              absl::StatusCode::kInvalidArgument)
        << id;
  }
}

}  // namespace
}  // namespace bulla
