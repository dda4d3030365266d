// The engine without the signer around it, which would sign one by one what a batch does not.

#ifdef BULLA_BATCH_ECDSA

#include "crypto/batch_ecdsa.h"

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <memory>

#include <secp256k1.h>

#include "base/random.h"
#include "crypto/rfc6979.h"
#include "crypto/secret.h"
#include "crypto/verifier.h"

namespace bulla {
namespace {

struct Destroy {
  void operator()(BatchEcdsaBlinding* blinding) const { BatchEcdsaBlindingDestroy(blinding); }
};

class BatchEcdsa : public testing::Test {
 protected:
  BatchEcdsa() {
    ByteArray<32> seed;
    FillRandom(seed);
    blinding_.reset(BatchEcdsaBlindingCreate(seed.data()));
    FillRandom(random_);
    FillRandom(key_.Expose());
    for (std::size_t i = 0; i < kBatchEcdsaMax; ++i) {
      FillRandom(digests_[i]);
      Rfc6979Nonce(nonces_[i].data(), digests_[i].data(), key_.Expose().data(), nullptr, nullptr,
                   0);
      statements_[i] = {.key32 = key_.Expose().data(),
                        .digest32 = digests_[i].data(),
                        .nonce32 = nonces_[i].data(),
                        .rs64 = signatures_[i].rs.data()};
    }
  }
  BatchEcdsaComputation Computation(std::size_t count, bool negated = false) const {
    return {blinding_.get(), negated, random_.data(), count};
  }
  bool Sign(std::initializer_list<BatchEcdsaComputation> computations) {
    return BatchEcdsaSign(computations.begin(), computations.size(), statements_.data()) != 0;
  }
  // Whether the statement has a signature from which the key's public key is recovered.
  bool IsRight(std::size_t i) {
    signatures_[i].recovery_id = static_cast<std::uint8_t>(statements_[i].recovery_id);
    const absl::StatusOr<PublicKey33> recovered = RecoverPublicKey(digests_[i], signatures_[i]);
    return statements_[i].is_signed == 1 && recovered.ok() && *recovered == PublicKey();
  }
  PublicKey33 PublicKey() const {
    std::unique_ptr<secp256k1_context, void (*)(secp256k1_context*)> context(
        secp256k1_context_create(SECP256K1_CONTEXT_NONE), secp256k1_context_destroy);
    secp256k1_pubkey pubkey;
    EXPECT_TRUE(secp256k1_ec_pubkey_create(context.get(), &pubkey, key_.Expose().data()));
    PublicKey33 compressed;
    std::size_t size = compressed.size();
    secp256k1_ec_pubkey_serialize(context.get(), compressed.data(), &size, &pubkey,
                                  SECP256K1_EC_COMPRESSED);
    return compressed;
  }

  std::unique_ptr<BatchEcdsaBlinding, Destroy> blinding_;
  ByteArray<32> random_;
  Secret<32> key_;
  std::array<Digest32, kBatchEcdsaMax> digests_;
  std::array<ByteArray<32>, kBatchEcdsaMax> nonces_;
  std::array<RecoverableSignature, kBatchEcdsaMax> signatures_;
  std::array<BatchEcdsaStatement, kBatchEcdsaMax> statements_;
};

TEST_F(BatchEcdsa, EveryStatementOfEverySizeIsSigned) {
  for (std::size_t count = 1; count <= kBatchEcdsaMax; ++count) {
    ASSERT_TRUE(Sign({Computation(count)})) << count;
    for (std::size_t i = 0; i < count; ++i) EXPECT_TRUE(IsRight(i)) << i << " of " << count;
  }
}

TEST_F(BatchEcdsa, TwoComputationsGiveOneSignatureAndTheOtherRecoveryId) {
  constexpr std::size_t kHalf = kBatchEcdsaMax / 2;
  for (std::size_t i = 0; i < kHalf; ++i) {
    digests_[kHalf + i] = digests_[i];
    nonces_[kHalf + i] = nonces_[i];
  }
  ASSERT_TRUE(Sign({Computation(kHalf), Computation(kHalf, /*negated=*/true)}));
  for (std::size_t i = 0; i < kHalf; ++i) {
    EXPECT_TRUE(IsRight(i));
    EXPECT_EQ(signatures_[i].rs, signatures_[kHalf + i].rs);
    EXPECT_EQ(statements_[i].recovery_id, statements_[kHalf + i].recovery_id ^ 1);
  }
}

TEST_F(BatchEcdsa, WhatTheInversionIsBlindedWithChangesNothing) {
  for (int fill : {0x00, 0x01, 0xff}) {  // out of range below and above, too
    random_.fill(static_cast<std::uint8_t>(fill));
    ASSERT_TRUE(Sign({Computation(3)}));
    for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(IsRight(i)) << fill;
  }
}

TEST_F(BatchEcdsa, KeysAndNoncesOutOfRangeGetNoSignature) {
  nonces_[1].fill(0);
  const ByteArray<32> no_key{};
  statements_[2].key32 = no_key.data();
  ASSERT_TRUE(Sign({Computation(4)}));
  EXPECT_TRUE(IsRight(0));
  EXPECT_TRUE(IsRight(3));
  for (std::size_t i : {1u, 2u}) {
    EXPECT_EQ(statements_[i].is_signed, 0);
    EXPECT_EQ(signatures_[i].rs, ByteArray<64>{});
  }
}

TEST_F(BatchEcdsa, RefusesMoreThanItHasRoomFor) {
  EXPECT_FALSE(Sign({}));
  EXPECT_FALSE(Sign({Computation(0)}));
  EXPECT_FALSE(Sign({Computation(kBatchEcdsaMax + 1)}));
  EXPECT_FALSE(Sign({Computation(kBatchEcdsaMax), Computation(1)}));
}

}  // namespace
}  // namespace bulla

#endif
