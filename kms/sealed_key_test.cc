#include "kms/sealed_key.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "crypto/aead.h"

namespace bulla {
namespace {

Secret<32> Filled(std::uint8_t byte) {
  Secret<32> secret;
  std::fill(secret.Expose().begin(), secret.Expose().end(), byte);
  return secret;
}

class SealedKey : public ::testing::Test {
 protected:
  SealedKey() {
    header_.key_id.bytes.fill(0x11);
    header_.dek_id.bytes.fill(0x22);
    header_.public_key = signer_->Compress(*signer_->DerivePublic(key_));
    blob_ = SealKey(dek_, header_, key_).value();
  }

  absl::StatusCode OpenCode(ByteSpan blob) {
    return OpenSealedKey(dek_, blob, header_.key_id, *signer_).status().code();
  }

  std::unique_ptr<Signer> signer_ = Signer::Create(Bytes(Signer::kSeedBytes)).value();
  Secret<32> dek_ = Filled(0xdd);
  Secret<32> key_ = Filled(0x77);
  SealedKeyHeader header_;
  Bytes blob_;
};

TEST_F(SealedKey, OpensToTheKeyThatWasSealed) {
  absl::StatusOr<OpenedKey> opened = OpenSealedKey(dek_, blob_, header_.key_id, *signer_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_TRUE(ConstantTimeEquals(opened->key.Expose(), key_.Expose()));
  EXPECT_EQ(signer_->Compress(opened->point), header_.public_key);
}

TEST_F(SealedKey, HeaderIsReadWithoutTheDek) { EXPECT_EQ(ParseSealedKey(blob_).value(), header_); }

TEST_F(SealedKey, TheKeyIsNotInTheBlob) {
  auto key = key_.Expose();
  EXPECT_EQ(std::search(blob_.begin(), blob_.end(), key.begin(), key.end()), blob_.end());
}

// Made by version 1, with the nonce as it fell. Blobs outlive programs: if this fails, a stored key
// cannot be opened any more, and the version must change.
TEST_F(SealedKey, ABlobOfVersionOneStillOpens) {
  Bytes old(kSealedKeyBytes);
  ASSERT_TRUE(
      HexDecode("42534b01"
                "11111111111111111111111111111111"
                "22222222222222222222222222222222"
                "037962d45b38e8bcf82fa8efa8432a01f20c9a53e24c7d3f11df197cb8e70926da"
                "b17c7822c4c8d39141fa17da"
                "a38de3e49c4a80ce05b2e14b93f524f821f5ef543a6afb002ac98bc72055fca8"
                "db3ab3bab321e891937e694272655ce0",
                old));
  absl::StatusOr<OpenedKey> opened = OpenSealedKey(dek_, old, header_.key_id, *signer_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_TRUE(ConstantTimeEquals(opened->key.Expose(), key_.Expose()));
}

TEST_F(SealedKey, AnyChangedBitIsRefused) {
  for (std::size_t bit = 0; bit < blob_.size() * 8; ++bit) {
    Bytes changed = blob_;
    changed[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    // In the mark and the key id it is seen before the tag is.
    absl::StatusCode want =
        bit < 20 * 8 ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kDataLoss;
    EXPECT_EQ(OpenCode(changed), want) << bit;
  }
}

TEST_F(SealedKey, AnotherLengthIsRefused) {
  for (std::size_t size = 0; size < blob_.size(); ++size) {
    EXPECT_EQ(OpenCode(ByteSpan(blob_).first(size)), absl::StatusCode::kInvalidArgument) << size;
  }
  blob_.push_back(0);
  EXPECT_EQ(OpenCode(blob_), absl::StatusCode::kInvalidArgument);
}

TEST_F(SealedKey, AnotherDekDoesNotOpenIt) {
  EXPECT_EQ(OpenSealedKey(Filled(0xde), blob_, header_.key_id, *signer_).status().code(),
            absl::StatusCode::kDataLoss);
}

// The parent may hand over any blob it has; it must not pass for the one asked for.
TEST_F(SealedKey, AnotherKeysBlobIsRefusedAlsoWithItsIdRewritten) {
  SealedKeyHeader other = header_;
  other.key_id.bytes.fill(0x12);
  Bytes others = SealKey(dek_, other, key_).value();
  EXPECT_EQ(OpenCode(others), absl::StatusCode::kInvalidArgument);
  std::copy(header_.key_id.bytes.begin(), header_.key_id.bytes.end(), others.begin() + 4);
  EXPECT_EQ(OpenCode(others), absl::StatusCode::kDataLoss);
}

TEST_F(SealedKey, APublicKeyThatIsNotTheKeysOwnIsRefused) {
  SealedKeyHeader lying = header_;
  lying.public_key = signer_->Compress(*signer_->DerivePublic(Filled(0x78)));
  EXPECT_EQ(OpenCode(SealKey(dek_, lying, key_).value()), absl::StatusCode::kDataLoss);
  EXPECT_EQ(OpenCode(SealKey(dek_, header_, Secret<32>()).value()), absl::StatusCode::kDataLoss)
      << "zero is no key";
}

TEST_F(SealedKey, EverySealHasAnotherNonce) {
  Bytes again = SealKey(dek_, header_, key_).value();
  EXPECT_FALSE(std::equal(blob_.begin() + 69, blob_.begin() + 81, again.begin() + 69));
}

}  // namespace
}  // namespace bulla
