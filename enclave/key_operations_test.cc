#include "enclave/key_operations.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "crypto/verifier.h"
#include "kms/sealed_key.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/small_key_cache.h"

namespace bulla {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

std::unique_ptr<Signer> NewSigner() {
  ByteArray<Signer::kSeedBytes> seed;
  FillRandom(seed);
  return *Signer::Create(seed);
}

// One enclave's keys, without threads or transport.
class KeyOperationsTest : public testing::Test {
 protected:
  void OpenSealingDek(DekTable& deks) { SealUnderNew(deks, dek_id_, dek_, clock_.Now()); }

  CreateReply CreateKey() { return operations_.Create({.sequence = 1, .key_id = KeyId::New({})}); }

  // As a worker does it: sign, open what has to be opened, sign what waited for that.
  SignReply Sign(KeyOperations& operations, const KeyId& key_id) {
    SignItem item{.sequence = 9, .key_id = key_id, .digest = digest_, .budget_us = 1'000'000};
    std::vector<SignReply> replies;
    std::vector<Opening> openings;
    operations.SignBatch({&item, 1}, clock_.Now(), nullptr, replies, openings);
    for (std::size_t i = 0; i < openings.size(); ++i) {
      KeyCache::Released released = operations.Open(Opening(openings[i]));
      for (const SignTask& task : released.tasks) {
        replies.push_back(released.status == ItemStatus::kOk
                              ? *operations.Resume(task, openings)
                              : operations.Refusal(task.item, released.status));
      }
    }
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
  const std::unique_ptr<DekTable> deks_ = NewDekTable();
  const std::unique_ptr<KeyCache> cache_ =
      NewKeyCache(*deks_, clock_.Now(), {.plain_key_uses_max = 5, .plain_key_low_water_mark = 1});
  KeyOperations operations_{*signer_, *cache_, *deks_, [] { return Bytes(256, 3); }, clock_};

  // Another enclave, or the same one after a restart.
  const std::unique_ptr<DekTable> other_deks_ = NewDekTable();
  const std::unique_ptr<KeyCache> other_cache_ = NewKeyCache(*other_deks_, clock_.Now());
  KeyOperations other_{*signer_, *other_cache_, *other_deks_, [] { return Bytes(256, 3); }, clock_};
};

TEST_F(KeyOperationsTest, ACreatedKeySignsAndItsPublicKeyVerifies) {
  OpenSealingDek(*deks_);
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
  OpenSealingDek(*deks_);
  KeyOperations dry{*signer_, *cache_, *deks_,
                    [] { return absl::UnavailableError("the NSM does not answer"); }, clock_};
  EXPECT_EQ(dry.Create({}).status, ItemStatus::kFault);
}

TEST_F(KeyOperationsTest, TwoKeysAreNeverTheSameThoughTheSecondSourceRepeats) {
  OpenSealingDek(*deks_);
  EXPECT_NE(CreateKey().public_key, CreateKey().public_key);
}

TEST_F(KeyOperationsTest, AnotherEnclaveAsksForTheBlobThenTheDekThenSignsTheSame) {
  OpenSealingDek(*deks_);
  CreateReply key = CreateKey();
  KeyId id = IdOf(key);
  EXPECT_EQ(Sign(other_, id).status, ItemStatus::kNeedBlob);
  ASSERT_TRUE(other_.Load(key.blob));
  EXPECT_EQ(Sign(other_, id).status, ItemStatus::kNeedDek);
  ASSERT_TRUE(other_deks_->Open(dek_id_, Bytes(1, 1), dek_, clock_.Now(), 0).ok());
  SignReply reply = Sign(other_, id);
  ASSERT_EQ(reply.status, ItemStatus::kOk);
  EXPECT_EQ(reply.signature, Sign(operations_, id).signature) << "RFC 6979 is deterministic";
  EXPECT_EQ(other_.counters()["rehydrations"], 1u);
}

TEST_F(KeyOperationsTest, ABlobUnderAnotherDekIsRefused) {
  OpenSealingDek(*deks_);
  CreateReply key = CreateKey();
  Secret<32> wrong;
  wrong.Expose()[0] = 1;
  ASSERT_TRUE(other_deks_->Open(dek_id_, Bytes(1, 1), wrong, clock_.Now(), 0).ok());
  ASSERT_TRUE(other_.Load(key.blob));
  EXPECT_EQ(Sign(other_, IdOf(key)).status, ItemStatus::kRefused);
}

TEST_F(KeyOperationsTest, OneKeysBlobCannotStandForAnothers) {
  OpenSealingDek(*deks_);
  CreateReply mine = CreateKey();
  CreateReply theirs = CreateKey();
  Bytes forged = theirs.blob;
  std::copy_n(mine.blob.begin() + 4, KeyId::kBytes, forged.begin() + 4);  // docs/formats.md
  ASSERT_TRUE(other_deks_->Open(dek_id_, Bytes(1, 1), dek_, clock_.Now(), 0).ok());
  ASSERT_TRUE(other_.Load(forged));
  EXPECT_EQ(Sign(other_, IdOf(mine)).status, ItemStatus::kRefused);
}

TEST_F(KeyOperationsTest, WhatIsNoBlobIsNotTakenIn) {
  EXPECT_FALSE(operations_.Load({}));
  EXPECT_FALSE(operations_.Load(Bytes(129, 0)));
}

TEST_F(KeyOperationsTest, AKeyInUseIsRefreshedBehindItsSignaturesBeforeItsUsesEnd) {
  OpenSealingDek(*deks_);
  KeyId id = IdOf(CreateKey());
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Sign(operations_, id).status, ItemStatus::kOk);
  EXPECT_EQ(operations_.counters()["refreshes"], 0u);
  EXPECT_EQ(Sign(operations_, id).status, ItemStatus::kOk);
  EXPECT_EQ(operations_.counters()["refreshes"], 1u) << "it was the last but one";
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Sign(operations_, id).status, ItemStatus::kOk);
  EXPECT_EQ(operations_.counters()["hard_expired_rejections"], 0u);
}

TEST_F(KeyOperationsTest, AKeyIsRehydratedAfterItsTime) {
  OpenSealingDek(*deks_);
  KeyId id = IdOf(CreateKey());
  clock_.Advance(minutes(16));
  operations_.Advance();
  EXPECT_EQ(cache_->CountsAt(clock_.Now()).warm, 0u);
  EXPECT_EQ(Sign(operations_, id).status, ItemStatus::kOk);
  EXPECT_EQ(operations_.counters()["rehydrations"], 1u);
  EXPECT_EQ(operations_.counters()["refreshes"], 0u);
}

TEST_F(KeyOperationsTest, UnderALapsedDekNothingIsSignedAndNothingIsMade) {
  OpenSealingDek(*deks_);
  KeyId id = IdOf(CreateKey());
  clock_.Advance(minutes(60));
  operations_.Advance();
  EXPECT_EQ(Sign(operations_, id).status, ItemStatus::kNeedDek);
  EXPECT_EQ(operations_.counters()["hard_expired_rejections"], 1u);
  EXPECT_EQ(CreateKey().status, ItemStatus::kNoSealingDek);
  ASSERT_TRUE(deks_->Open(dek_id_, Bytes(1, 1), dek_, clock_.Now(), 0).ok());
  EXPECT_EQ(Sign(operations_, id).status, ItemStatus::kOk);
  EXPECT_EQ(CreateKey().status, ItemStatus::kNoSealingDek) << "what is opened seals nothing";
  SealUnderNew(*deks_, DekId::New({}), dek_, clock_.Now());
  EXPECT_EQ(CreateKey().status, ItemStatus::kOk);
}

TEST_F(KeyOperationsTest, ASignatureThatWaitsTooLongIsAnsweredThroughItsSink) {
  struct Sink final : ReplySink {
    void Send(ReplyBatch& batch) override { replies.push_back(batch.signs.at(0)); }
    std::vector<SignReply> replies;
  };
  auto sink = std::make_shared<Sink>();
  OpenSealingDek(*deks_);
  CreateReply key = CreateKey();
  ASSERT_TRUE(other_deks_->Open(dek_id_, Bytes(1, 1), dek_, clock_.Now(), 0).ok());
  ASSERT_TRUE(other_.Load(key.blob));
  SignItem item{.sequence = 4, .key_id = IdOf(key), .budget_us = 1'000'000};
  std::vector<SignReply> replies;
  std::vector<Opening> openings;
  other_.SignBatch({&item, 1}, clock_.Now(), sink, replies, openings);
  EXPECT_TRUE(replies.empty());
  ASSERT_EQ(openings.size(), 1u);
  clock_.Advance(std::chrono::milliseconds(3));
  other_.Advance();
  ASSERT_EQ(sink->replies.size(), 1u);
  EXPECT_EQ(sink->replies[0].sequence, 4u);
  EXPECT_EQ(sink->replies[0].status, ItemStatus::kRehydrateTimeout);
  EXPECT_TRUE(other_.Open(openings[0]).tasks.empty()) << "it would be answered twice";
}

TEST_F(KeyOperationsTest, WhoWaitedForAKeyIsSignedThoughTheQueueTookLongerThanTheWait) {
  OpenSealingDek(*deks_);
  KeyId id = IdOf(CreateKey());
  SignTask task{.item = {.key_id = id},
                .expires = clock_.Now() + seconds(1),
                .wait_until = clock_.Now() + std::chrono::milliseconds(3)};
  clock_.Advance(std::chrono::milliseconds(10));
  std::vector<Opening> openings;
  EXPECT_EQ(operations_.Resume(task, openings)->status, ItemStatus::kOk);
  clock_.Advance(seconds(1));
  EXPECT_EQ(operations_.Resume(task, openings)->status, ItemStatus::kExpired);
}

TEST_F(KeyOperationsTest, WorkPastItsBudgetIsDroppedUnsigned) {
  OpenSealingDek(*deks_);
  KeyId id = IdOf(CreateKey());
  MonotonicTime received = clock_.Now();
  clock_.Advance(seconds(1));
  SignItem items[] = {{.key_id = id, .budget_us = 1'000'000},
                      {.key_id = id, .budget_us = 1'000'001}};
  std::vector<SignReply> replies;
  std::vector<Opening> openings;
  operations_.SignBatch(items, received, nullptr, replies, openings);
  EXPECT_EQ(replies.at(0).status, ItemStatus::kExpired);
  EXPECT_EQ(replies.at(1).status, ItemStatus::kOk);
  EXPECT_EQ(operations_.counters()["signatures"], 1u);
}

}  // namespace
}  // namespace bulla
