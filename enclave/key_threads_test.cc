// Does what holds of the key cache step by step (tests/simulation) hold when sixteen threads are at
// it? Real workers, real crypto and real time: keys that expire every few milliseconds, a DEK that
// lapses and comes back, settings that change, blobs and plain keys that have to make room. Noise
// decides which of the allowed answers comes, never whether one comes, or what is signed.

#include <algorithm>
#include <array>
#include <atomic>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "base/ticker.h"
#include "crypto/verifier.h"
#include "enclave/workers.h"
#include "tests/fakes/small_key_cache.h"

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using Verdict = KeyCache::Verdict;

constexpr std::size_t kWorkers = 8;
constexpr std::size_t kCallers = 8;
constexpr std::size_t kFramesPerCaller = 400;
constexpr std::size_t kSignsPerFrame = 16;
constexpr std::size_t kHotKeys = 4;
constexpr std::size_t kKeys = 100;  // in 64 shards with one plain key each: they evict one another
constexpr std::size_t kStrangers = 10'000;  // twice as many blobs as there is memory for

const KeyPolicy kFleeting{.plain_key_ttl_soft = milliseconds(4),
                          .plain_key_ttl_hard = milliseconds(5),
                          .plain_key_uses_max = 40,
                          .plain_key_refresh_window = milliseconds(2),
                          .plain_key_low_water_mark = 8,
                          .memory_budget_mib = 1};

KeyPolicy Shorter() {
  KeyPolicy policy = kFleeting;
  policy.plain_key_ttl_soft = milliseconds(2);
  policy.plain_key_ttl_hard = milliseconds(3);
  policy.plain_key_refresh_window = milliseconds(1);
  policy.plain_key_uses_max = 10;
  policy.dek_ttl_soft = milliseconds(1);
  policy.dek_ttl_hard = milliseconds(2);  // over at once, until it is opened again
  return policy;
}

struct TestKey {
  KeyId id;
  Bytes blob;
  Digest32 digest{};
  ByteArray<64> signature{};  // the one there is: RFC 6979 draws nothing
};

// One caller's answers: how many came to each of its signatures, and the last.
class Answers final : public ReplySink {
 public:
  void Send(ReplyBatch& replies) override {
    MutexLock lock(mutex_);
    for (const SignReply& reply : replies.signs) {
      ++counts_[reply.sequence];
      last_[reply.sequence] = reply;
    }
    changed_.NotifyAll();
  }
  // Waits until so many signatures have an answer.
  void WaitFor(std::size_t signatures) {
    MutexLock lock(mutex_);
    changed_.Wait(mutex_,
                  [&]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return counts_.size() >= signatures; });
  }
  SignReply To(std::uint32_t sequence) {
    MutexLock lock(mutex_);
    return last_.at(sequence);
  }
  std::size_t answered_once() {
    MutexLock lock(mutex_);
    return static_cast<std::size_t>(
        std::ranges::count_if(counts_, [](const auto& entry) { return entry.second == 1; }));
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::map<std::uint32_t, int> counts_ BULLA_GUARDED_BY(mutex_);
  std::map<std::uint32_t, SignReply> last_ BULLA_GUARDED_BY(mutex_);
};

class KeyThreadsTest : public testing::Test {
 protected:
  static std::unique_ptr<Signer> NewSigner() {
    ByteArray<Signer::kSeedBytes> seed;
    FillRandom(seed);
    return *Signer::Create(seed);
  }

  void MakeKeys() {
    const std::unique_ptr<DekTable> deks = NewDekTable();
    const std::unique_ptr<KeyCache> cache = NewKeyCache(*deks, clock_.Now());
    KeyOperations maker{*signer_, *cache, *deks, [] { return Bytes(32, 3); }, clock_};
    SealUnderNew(*deks, dek_id_, {}, clock_.Now());
    for (std::uint8_t i = 0; i < kKeys; ++i) {
      TestKey key{.id = KeyId::New({}), .digest = {i, 1}};
      const CreateReply created = maker.Create({.key_id = key.id});
      ASSERT_EQ(created.status, ItemStatus::kOk);
      key.blob = created.blob;
      const SignItem item{.key_id = key.id, .digest = key.digest, .budget_us = 60'000'000};
      std::vector<SignReply> replies;
      std::vector<Opening> openings;
      maker.SignBatch({&item, 1}, clock_.Now(), nullptr, replies, openings);
      key.signature = replies.at(0).signature.rs;
      ASSERT_TRUE(VerifySignature(created.public_key, key.digest, key.signature));
      keys_.push_back(std::move(key));
    }
  }

  // One frame after the other, half of it for the hot keys; the blobs that were asked for come with
  // the next.
  void Call(Workers& workers, const std::shared_ptr<Answers>& answers, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::map<std::uint32_t, std::size_t> asked;
    std::vector<std::size_t> wanted;
    for (std::size_t frame = 0; frame < kFramesPerCaller; ++frame) {
      RequestBatch batch;
      for (std::size_t key : wanted) batch.loads.push_back(keys_[key].blob);
      wanted.clear();
      for (std::size_t i = 0; i < kSignsPerFrame; ++i) {
        const auto sequence = static_cast<std::uint32_t>(frame * kSignsPerFrame + i);
        const std::size_t key = random() % (random() % 2 == 0 ? kHotKeys : kKeys);
        asked[sequence] = key;
        batch.signs.push_back({sequence, keys_[key].id, keys_[key].digest, 60'000'000});
      }
      workers.Submit(batch, clock_.Now(), answers);
      answers->WaitFor(asked.size());
      for (std::size_t i = 0; i < kSignsPerFrame; ++i) {
        const auto sequence = static_cast<std::uint32_t>(frame * kSignsPerFrame + i);
        const SignReply reply = answers->To(sequence);
        const TestKey& key = keys_[asked[sequence]];
        ++statuses_[static_cast<std::size_t>(reply.status)];
        if (reply.status == ItemStatus::kNeedBlob) wanted.push_back(asked[sequence]);
        if (reply.status != ItemStatus::kOk) continue;
        EXPECT_EQ(reply.signature.rs, key.signature) << "of key " << asked[sequence];
      }
    }
  }

  // What time and other people do meanwhile: a step every few milliseconds.
  void Disturb(DekTable& deks, KeyCache& cache) {
    ++disturbances_;
    const bool lapse = disturbances_ % 8 == 0;
    deks.SetPolicy(lapse ? Shorter() : kFleeting);
    cache.SetPolicy(lapse ? Shorter() : kFleeting);
    if (!lapse) {
      EXPECT_TRUE(deks.Open(dek_id_, Bytes(1, 1), {}, clock_.Now(), RandomUint64()).ok());
    }
    static_cast<void>(deks.TakeRenewals(clock_.Now(), 10));
    static_cast<void>(cache.CountsAt(clock_.Now()));
  }

  // Blobs of keys that nobody asks for, so that those of ours have to go.
  void LoadStrangers(KeyOperations& operations) {
    Bytes blob = keys_[0].blob;
    for (int i = 0; i < 200; ++i) {
      const std::size_t stranger = strangers_++ % kStrangers;
      std::ranges::copy(KeyId{{static_cast<std::uint8_t>(stranger / 256), 0xff}}.bytes,
                        blob.begin() + 4);  // docs/formats.md
      blob[4 + 15] = static_cast<std::uint8_t>(stranger);
      EXPECT_TRUE(operations.Load(blob));
    }
  }

  const RealClock clock_{};
  const DekId dek_id_ = DekId::New({});
  const std::unique_ptr<Signer> signer_ = NewSigner();
  std::vector<TestKey> keys_;
  std::array<std::atomic<std::uint64_t>, kItemStatusCount> statuses_{};
  std::size_t disturbances_ = 0;
  std::size_t strangers_ = 0;
};

TEST_F(KeyThreadsTest, EveryAnswerComesOnceAndEverySignatureIsTheKeysOwn) {
  ASSERT_NO_FATAL_FAILURE(MakeKeys());
  const std::unique_ptr<DekTable> deks = NewDekTable(kFleeting);
  const std::unique_ptr<KeyCache> cache =
      NewKeyCache(*deks, clock_.Now(), kFleeting, /*locked_bytes=*/64 * 32);
  KeyOperations operations{*signer_, *cache, *deks, [] { return Bytes(32, 3); }, clock_};
  ASSERT_TRUE(deks->Open(dek_id_, Bytes(1, 1), {}, clock_.Now(), 0).ok());
  std::vector<std::shared_ptr<Answers>> answers(kCallers);
  {
    Workers workers({.threads = kWorkers, .queue_max = 1000}, operations);
    Ticker expiry("expiry", milliseconds(1), [&] { operations.Advance(); });
    Ticker disturber("disturber", milliseconds(3), [&] { Disturb(*deks, *cache); });
    Ticker loader("loader", milliseconds(1), [&] { LoadStrangers(operations); });
    std::vector<std::jthread> callers;
    for (std::size_t i = 0; i < kCallers; ++i) {
      answers[i] = std::make_shared<Answers>();
      callers.emplace_back([this, &workers, &answers, i] { Call(workers, answers[i], i); });
    }
  }
  for (auto& caller : answers) {
    EXPECT_EQ(caller->answered_once(), kFramesPerCaller * kSignsPerFrame);
  }
  EXPECT_EQ(cache->CountsAt(clock_.Now()).waiters, 0u);
  for (const TestKey& key : keys_) {
    EXPECT_FALSE(cache->ViewOf(key.id, clock_.Now()).facts.flight);
  }
  auto count = [this](ItemStatus status) {
    return statuses_[static_cast<std::size_t>(status)].load();
  };
  EXPECT_EQ(count(ItemStatus::kRefused) + count(ItemStatus::kFault), 0u);
  EXPECT_EQ(count(ItemStatus::kOk), operations.counters()["signatures"]);
  EXPECT_GT(count(ItemStatus::kOk), 0u);
  EXPECT_GT(operations.counters()["rehydrations"], 0u);
  for (std::size_t i = 0; i < statuses_.size(); ++i) {
    RecordProperty("status_" + std::to_string(i), std::to_string(statuses_[i].load()));
  }
}

// Sixteen threads on one key. What a flight lets go is only counted: who waited asks no more.
class OneKeyManyThreads : public testing::Test {
 protected:
  static constexpr std::size_t kThreads = 16;
  static constexpr int kSignsPerThread = 20'000;

  void Run(const KeyPolicy& policy) {
    deks_ = NewDekTable(policy);
    cache_ = NewKeyCache(*deks_, now_, policy);
    ASSERT_TRUE(deks_->Open(header_.dek_id, Bytes(1, 1), {}, now_, 0).ok());
    SealedBlob blob;
    std::ranges::copy(*SealKey({}, header_, {}), blob.begin());
    cache_->Load(header_, blob, now_);
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([this] {
        for (int sign = 0; sign < kSignsPerThread; ++sign) Sign();
      });
    }
  }

  void Sign() {
    KeyLease lease;
    const auto [verdict, status] = cache_->Sign(header_.key_id, now_, lease, [&] {
      ++waited_;
      return SignTask{.expires = now_ + hours(1), .wait_until = now_ + hours(1)};
    });
    if (verdict == Verdict::kRefused) {
      EXPECT_EQ(status, ItemStatus::kBusy) << "there are as many waiters as there may be";
      ++refused_;
    }
    if (verdict == Verdict::kGranted || verdict == Verdict::kGrantedAndLeading) {
      ++grants_;
      EXPECT_EQ(lease.secret.Expose()[0], kMark) << "a plain key that was wiped already";
    }
    if (verdict != Verdict::kLeading && verdict != Verdict::kGrantedAndLeading) return;
    EXPECT_EQ(flights_.fetch_add(1), 0) << "two flights of one key";
    ++openings_;
    OpenedSecret opened{{}, {}, deks_->Validity(header_.dek_id, now_)};
    opened.secret.Expose()[0] = kMark;
    flights_.fetch_sub(1);
    released_ += cache_->CompleteFlight(header_.key_id, opened, now_).tasks.size();
  }

  static constexpr std::uint8_t kMark = 0x5a;
  const MonotonicTime now_ = RealClock().Now();
  const SealedKeyHeader header_{KeyId::New({}), DekId::New({}), {}};
  std::unique_ptr<DekTable> deks_;
  std::unique_ptr<KeyCache> cache_;
  std::atomic<std::uint64_t> grants_{0};
  std::atomic<std::uint64_t> openings_{0};
  std::atomic<std::uint64_t> waited_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> released_{0};
  std::atomic<int> flights_{0};
};

TEST_F(OneKeyManyThreads, EachOpeningGivesAsManySignaturesAsItMayAndNotOneMore) {
  ASSERT_NO_FATAL_FAILURE(Run({.plain_key_uses_max = 7, .plain_key_low_water_mark = 0}));
  const std::uint64_t left = cache_->ViewOf(header_.key_id, now_).facts.uses_left;
  EXPECT_EQ(grants_ + left, openings_ * 7) << "without refreshes all uses of each are taken";
  EXPECT_EQ(grants_ + waited_ + refused_, kThreads * kSignsPerThread);
  EXPECT_EQ(released_, waited_);
}

TEST_F(OneKeyManyThreads, RefreshesAheadOfTimeGiveNoMore) {
  ASSERT_NO_FATAL_FAILURE(Run({.plain_key_uses_max = 7, .plain_key_low_water_mark = 3}));
  EXPECT_LE(grants_.load(), openings_ * 7);
  EXPECT_EQ(grants_ + waited_ + refused_, kThreads * kSignsPerThread);
  EXPECT_EQ(released_, waited_);
}

}  // namespace
}  // namespace bulla
