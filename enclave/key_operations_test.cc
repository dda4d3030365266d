#include "enclave/key_operations.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "crypto/verifier.h"
#include "kms/sealed_key.h"
#include "tests/fakes/fake_clock.h"

namespace bulla {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

std::unique_ptr<Signer> NewSigner() {
  ByteArray<32> seed;
  FillRandom(seed);
  return *Signer::Create(seed);
}

// One enclave's keys, without threads or transport.
class KeyOperationsTest : public testing::Test {
 protected:
  void OpenSealingDek(DekTable& deks) {
    ASSERT_TRUE(deks.AddSealing(dek_id_, dek_.Duplicate(), {1}, "arn").ok());
  }

  CreateReply CreateKey() { return operations_.Create({.sequence = 1, .key_id = KeyId::New({})}); }

  SignReply Sign(KeyOperations& operations, const KeyId& key_id) {
    SignItem item{.sequence = 9, .key_id = key_id, .digest = digest_, .budget_us = 1'000'000};
    std::vector<SignReply> replies;
    operations.SignBatch({&item, 1}, clock_.Now(), replies);
    EXPECT_EQ(replies.size(), 1u);
    return replies.at(0);
  }

  static KeyId IdOf(const CreateReply& reply) { return ParseSealedKey(reply.blob)->key_id; }

  bool Verifies(const CreateReply& key, const SignReply& reply) {
    return VerifySignature(key.public_key, digest_, reply.signature.rs);
  }

  // Lives outside the enclave under test, so that a second one can open the same DEK.
  const DekId dek_id_ = DekId::New({});
  Secret<32> dek_;
  const Digest32 digest_{7};
  FakeClock clock_;
  const std::unique_ptr<Signer> signer_ = NewSigner();
  KeyCache cache_{{.plain_ttl = minutes(16), .uses_max = 5}};
  DekTable deks_;
  KeyOperations operations_{*signer_, cache_, deks_, [] { return Bytes(256, 3); }, clock_};

  // Another enclave, or the same one after a restart.
  KeyCache other_cache_{{}};
  DekTable other_deks_;
  KeyOperations other_{*signer_, other_cache_, other_deks_, [] { return Bytes(256, 3); }, clock_};
};

TEST_F(KeyOperationsTest, ACreatedKeySignsAndItsPublicKeyVerifies) {
  OpenSealingDek(deks_);
  CreateReply key = CreateKey();
  ASSERT_EQ(key.status, ItemStatus::kOk);
  SignReply reply = Sign(operations_, IdOf(key));
  ASSERT_EQ(reply.status, ItemStatus::kOk);
  EXPECT_EQ(reply.sequence, 9u);
  EXPECT_TRUE(Verifies(key, reply));
}

TEST_F(KeyOperationsTest, NoKeyIsMadeWithoutASealingDek) {
  EXPECT_EQ(CreateKey().status, ItemStatus::kNoSealingDek);
}

TEST_F(KeyOperationsTest, NoKeyIsMadeWhenTheSecondSourceOfRandomnessFails) {
  OpenSealingDek(deks_);
  KeyOperations dry{*signer_, cache_, deks_,
                    [] { return absl::UnavailableError("the NSM does not answer"); }, clock_};
  EXPECT_EQ(dry.Create({}).status, ItemStatus::kFault);
}

TEST_F(KeyOperationsTest, TwoKeysAreNeverTheSameThoughTheSecondSourceRepeats) {
  OpenSealingDek(deks_);
  EXPECT_NE(CreateKey().public_key, CreateKey().public_key);
}

TEST_F(KeyOperationsTest, AnotherEnclaveAsksForTheBlobThenTheDekThenSignsTheSame) {
  OpenSealingDek(deks_);
  CreateReply key = CreateKey();
  KeyId id = IdOf(key);
  EXPECT_EQ(Sign(other_, id).status, ItemStatus::kNeedBlob);
  ASSERT_TRUE(other_.Load(key.blob));
  EXPECT_EQ(Sign(other_, id).status, ItemStatus::kNeedDek);
  ASSERT_TRUE(other_deks_.Add(dek_id_, dek_.Duplicate()).ok());
  SignReply reply = Sign(other_, id);
  ASSERT_EQ(reply.status, ItemStatus::kOk);
  EXPECT_EQ(reply.signature, Sign(operations_, id).signature) << "RFC 6979 is deterministic";
  EXPECT_EQ(other_.counts().rehydrations, 1u);
}

TEST_F(KeyOperationsTest, ABlobUnderAnotherDekIsRefused) {
  OpenSealingDek(deks_);
  CreateReply key = CreateKey();
  Secret<32> wrong;
  wrong.Expose()[0] = 1;
  ASSERT_TRUE(other_deks_.Add(dek_id_, std::move(wrong)).ok());
  ASSERT_TRUE(other_.Load(key.blob));
  EXPECT_EQ(Sign(other_, IdOf(key)).status, ItemStatus::kRefused);
}

TEST_F(KeyOperationsTest, OneKeysBlobCannotStandForAnothers) {
  OpenSealingDek(deks_);
  CreateReply mine = CreateKey();
  CreateReply theirs = CreateKey();
  Bytes forged = theirs.blob;
  std::copy_n(mine.blob.begin() + 4, KeyId::kBytes, forged.begin() + 4);  // docs/formats.md
  ASSERT_TRUE(other_deks_.Add(dek_id_, dek_.Duplicate()).ok());
  ASSERT_TRUE(other_.Load(forged));
  EXPECT_EQ(Sign(other_, IdOf(mine)).status, ItemStatus::kRefused);
}

TEST_F(KeyOperationsTest, WhatIsNoBlobIsNotTakenIn) {
  EXPECT_FALSE(operations_.Load({}));
  EXPECT_FALSE(operations_.Load(Bytes(129, 0)));
}

TEST_F(KeyOperationsTest, AKeyIsRehydratedAfterItsUsesAndAfterItsTime) {
  OpenSealingDek(deks_);
  KeyId id = IdOf(CreateKey());
  for (int i = 0; i < 5; ++i) Sign(operations_, id);
  EXPECT_EQ(operations_.counts().rehydrations, 0u);
  EXPECT_EQ(Sign(operations_, id).status, ItemStatus::kOk);
  EXPECT_EQ(operations_.counts().rehydrations, 1u) << "its five uses were spent";
  clock_.Advance(minutes(16));
  EXPECT_EQ(Sign(operations_, id).status, ItemStatus::kOk);
  EXPECT_EQ(operations_.counts().rehydrations, 2u) << "its sixteen minutes were over";
}

TEST_F(KeyOperationsTest, WorkPastItsBudgetIsDroppedUnsigned) {
  OpenSealingDek(deks_);
  KeyId id = IdOf(CreateKey());
  MonotonicTime received = clock_.Now();
  clock_.Advance(seconds(1));
  SignItem items[] = {{.key_id = id, .budget_us = 1'000'000},
                      {.key_id = id, .budget_us = 1'000'001}};
  std::vector<SignReply> replies;
  operations_.SignBatch(items, received, replies);
  EXPECT_EQ(replies.at(0).status, ItemStatus::kExpired);
  EXPECT_EQ(replies.at(1).status, ItemStatus::kOk);
  EXPECT_EQ(operations_.counts().signatures, 1u);
}

}  // namespace
}  // namespace bulla
