#include "enclave/workers.h"

#include <gtest/gtest.h>
#include <set>

#include "base/random.h"
#include "tests/fakes/small_key_cache.h"

namespace bulla {
namespace {

// Gathers replies and lets a test wait for a number of them.
class Gatherer final : public ReplySink {
 public:
  void Send(ReplyBatch& replies) override {
    MutexLock lock(mutex_);
    for (SignReply& reply : replies.signs) replies_.push_back(reply);
    changed_.NotifyAll();
  }
  std::vector<SignReply> WaitFor(std::size_t count) {
    MutexLock lock(mutex_);
    changed_.Wait(mutex_,
                  [&]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return replies_.size() >= count; });
    return replies_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<SignReply> replies_ BULLA_GUARDED_BY(mutex_);
};

class WorkersTest : public testing::Test {
 protected:
  static std::unique_ptr<Signer> NewSigner() {
    ByteArray<Signer::kSeedBytes> seed;
    FillRandom(seed);
    return *Signer::Create(seed);
  }
  void SetUp() override {
    SealUnderNew(*deks_, dek_id_, {}, clock_.Now());
    CreateReply created = operations_.Create({.key_id = key_id_});
    ASSERT_EQ(created.status, ItemStatus::kOk);
    blob_ = created.blob;
  }
  RequestBatch Signs(std::uint32_t first, std::size_t count) {
    RequestBatch batch;
    for (std::size_t i = 0; i < count; ++i) {
      batch.signs.push_back({.sequence = first + static_cast<std::uint32_t>(i),
                             .key_id = key_id_,
                             .budget_us = 60'000'000});
    }
    return batch;
  }

  void Submit(Workers& workers, RequestBatch batch) {
    workers.Submit(batch, clock_.Now(), gatherer_);
  }

  const RealClock clock_{};
  const KeyId key_id_ = KeyId::New({});
  const std::unique_ptr<Signer> signer_ = NewSigner();
  // Patient: a loaded machine is no reason for a test to fail.
  const KeyPolicy policy_{.sign_wait_budget = std::chrono::minutes(1),
                          .hard_refresh_budget = std::chrono::minutes(1)};
  const DekId dek_id_ = DekId::New({});
  const std::unique_ptr<DekTable> deks_ = NewDekTable(policy_);
  const std::unique_ptr<KeyCache> cache_ = NewKeyCache(*deks_, clock_.Now(), policy_);
  Bytes blob_;
  KeyOperations operations_{*signer_, *cache_, *deks_, [] { return Bytes(32, 3); }, clock_};
  std::shared_ptr<Gatherer> gatherer_ = std::make_shared<Gatherer>();
};

TEST_F(WorkersTest, EveryItemOfEveryFrameIsAnsweredOnce) {
  Workers workers({.threads = 3, .queue_max = 1000}, operations_);
  for (std::uint32_t frame = 0; frame < 20; ++frame) {
    Submit(workers, Signs(frame * 32, 32));
  }
  std::set<std::uint32_t> sequences;
  for (const SignReply& reply : gatherer_->WaitFor(640)) {
    EXPECT_EQ(reply.status, ItemStatus::kOk);
    EXPECT_TRUE(sequences.insert(reply.sequence).second) << "twice: " << reply.sequence;
  }
  EXPECT_EQ(sequences.size(), 640u);
}

TEST_F(WorkersTest, AFullQueueRefusesAndStillAnswersAll) {
  Workers workers({.threads = 1, .queue_max = 1}, operations_);
  for (std::uint32_t frame = 0; frame < 50; ++frame) {
    Submit(workers, Signs(frame * 32, 32));
  }
  std::size_t busy = 0;
  for (const SignReply& reply : gatherer_->WaitFor(1600)) {
    busy += reply.status == ItemStatus::kBusy ? 1 : 0;
  }
  EXPECT_GT(busy, 0u);
  EXPECT_LT(busy, 1600u);
}

TEST_F(WorkersTest, ManyWhoAskForAColdKeyAreAllServedByOneOpening) {
  std::unique_ptr<DekTable> deks = NewDekTable(policy_);
  std::unique_ptr<KeyCache> cache = NewKeyCache(*deks, clock_.Now(), policy_);
  KeyOperations operations{*signer_, *cache, *deks, [] { return Bytes(32, 3); }, clock_};
  ASSERT_TRUE(deks->Open(dek_id_, Bytes(1, 1), {}, clock_.Now(), 0).ok());
  ASSERT_TRUE(operations.Load(blob_));
  Workers workers({.threads = 3, .queue_max = 1000}, operations);
  for (std::uint32_t frame = 0; frame < 16; ++frame) {
    Submit(workers, Signs(frame * 32, 32));
  }
  std::set<std::uint32_t> sequences;
  for (const SignReply& reply : gatherer_->WaitFor(512)) {
    EXPECT_EQ(reply.status, ItemStatus::kOk);
    EXPECT_TRUE(sequences.insert(reply.sequence).second) << "twice: " << reply.sequence;
  }
  EXPECT_EQ(operations.counters()["rehydrations"], 1u);
}

TEST_F(WorkersTest, ManyWhoAskForAKeyThatDoesNotOpenAreAllTold) {
  std::unique_ptr<DekTable> deks = NewDekTable(policy_);
  std::unique_ptr<KeyCache> cache = NewKeyCache(*deks, clock_.Now(), policy_);
  KeyOperations operations{*signer_, *cache, *deks, [] { return Bytes(32, 3); }, clock_};
  Secret<32> wrong;
  wrong.Expose()[0] = 1;
  ASSERT_TRUE(deks->Open(dek_id_, Bytes(1, 1), wrong, clock_.Now(), 0).ok());
  ASSERT_TRUE(operations.Load(blob_));
  Workers workers({.threads = 3, .queue_max = 1000}, operations);
  Submit(workers, Signs(0, 32));
  for (const SignReply& reply : gatherer_->WaitFor(32)) {
    EXPECT_TRUE(reply.status == ItemStatus::kRefused || reply.status == ItemStatus::kNeedBlob);
  }
  EXPECT_EQ(cache->CountsAt(clock_.Now()).waiters, 0u);
}

TEST_F(WorkersTest, EndingAnswersWhatWasAccepted) {
  {
    Workers workers({.threads = 2, .queue_max = 1000}, operations_);
    for (std::uint32_t frame = 0; frame < 10; ++frame) {
      Submit(workers, Signs(frame * 32, 32));
    }
  }
  EXPECT_EQ(gatherer_->WaitFor(320).size(), 320u);
}

}  // namespace
}  // namespace bulla
