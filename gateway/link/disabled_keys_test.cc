#include "gateway/link/disabled_keys.h"

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>
#include <random>
#include <set>

#include "base/random.h"
#include "gateway/link/forgetting.h"
#include "tests/fakes/fake_key_store.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const MonotonicTime kStart(std::chrono::hours(1));

class DisabledKeysTest : public testing::Test {
 protected:
  KeyId Put() {
    DekRow dek{.dek_id = DekId::New({}), .wrapped = {1}};
    KeyRow key{.key_id = KeyId::New({}), .dek_id = dek.dek_id, .blob = {1}};
    FillRandom(key.key_id.bytes);
    store_.PutDek(dek, [](const absl::Status&) {});
    store_.PutKey(key, std::nullopt, [](const absl::StatusOr<KeyRow>&) {});
    return key.key_id;
  }
  // All that it names until it has nothing more to say.
  std::vector<KeyId> Told(Forgetting& forgetting, std::size_t max = 3) {
    std::vector<KeyId> all;
    while (true) {
      std::vector<KeyId> keys = forgetting.Next(max, now_);
      EXPECT_LE(keys.size(), max);
      if (keys.empty()) return all;
      all.insert(all.end(), keys.begin(), keys.end());
    }
  }
  void LetPass(Duration time) { disabled_.Tick(now_ += time); }

  FakeKeyStore store_;
  Metrics metrics_;
  DisabledKeys disabled_{store_, metrics_};
  MonotonicTime now_ = kStart;
};

TEST_F(DisabledKeysTest, NobodyKnowsBeforeTheStoreHasToldAll) {
  store_.FailWith(absl::UnavailableError("disk"));
  disabled_.Tick(now_);
  EXPECT_EQ(disabled_.snapshot(), nullptr);
  store_.FailWith(absl::OkStatus());
  LetPass(DisabledKeys::kAskInterval);
  ASSERT_NE(disabled_.snapshot(), nullptr);
  EXPECT_EQ(disabled_.snapshot()->size(), 0u);
}

TEST_F(DisabledKeysTest, AChangeIsKnownAtTheNextLookAndAFailureOfTheStoreForgetsNothing) {
  const KeyId key = Put();
  disabled_.Tick(now_);
  store_.SetEnabled(key, false);
  LetPass(DisabledKeys::kAskInterval - milliseconds(1));
  EXPECT_FALSE(disabled_.snapshot()->Contains(key));
  LetPass(milliseconds(1));
  EXPECT_TRUE(disabled_.snapshot()->Contains(key));
  store_.FailWith(absl::UnavailableError("disk"));
  store_.SetEnabled(key, true);
  LetPass(seconds(1));
  EXPECT_TRUE(disabled_.snapshot()->Contains(key));
  store_.FailWith(absl::OkStatus());
  LetPass(seconds(1));
  EXPECT_FALSE(disabled_.snapshot()->Contains(key));
}

TEST_F(DisabledKeysTest, MoreThanAPageIsReadAtOnce) {
  std::vector<KeyId> keys;
  for (std::size_t i = 0; i < DisabledKeys::kPageMax + 10; ++i) {
    keys.push_back(Put());
    store_.SetEnabled(keys.back(), false);
  }
  disabled_.Tick(now_);
  ASSERT_NE(disabled_.snapshot(), nullptr);
  EXPECT_EQ(disabled_.snapshot()->size(), keys.size());
  for (const KeyId& key : keys) ASSERT_TRUE(disabled_.snapshot()->Contains(key));
}

TEST_F(DisabledKeysTest, ASnapshotDoesNotChange) {
  const KeyId key = Put();
  disabled_.Tick(now_);
  const auto before = disabled_.snapshot();
  store_.SetEnabled(key, false);
  LetPass(seconds(1));
  EXPECT_FALSE(before->Contains(key));
}

TEST_F(DisabledKeysTest, WhatIsDisabledIsAsAModelHasIt) {
  const char* seed_text = std::getenv("BULLA_TEST_SEED");
  const std::uint64_t seed = seed_text != nullptr ? std::stoull(seed_text) : RandomUint64();
  std::printf("BULLA_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  SCOPED_TRACE("BULLA_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::vector<KeyId> keys;
  for (int i = 0; i < 100; ++i) keys.push_back(Put());
  std::set<KeyId> model;
  for (int step = 0; step < 2000; ++step) {
    const KeyId& key = keys[random() % keys.size()];
    const bool enabled = random() % 2 == 0;
    store_.SetEnabled(key, enabled);
    enabled ? (void)model.erase(key) : (void)model.insert(key);
    if (random() % 5 != 0) continue;
    LetPass(seconds(1));
    const auto snapshot = disabled_.snapshot();
    ASSERT_EQ(snapshot->size(), model.size());
    for (const KeyId& id : keys) ASSERT_EQ(snapshot->Contains(id), model.contains(id));
  }
}

TEST_F(DisabledKeysTest, AnEnclaveIsToldOfAllAndThenOfEachAndOfEachAgain) {
  std::vector<KeyId> keys;
  for (int i = 0; i < 10; ++i) {
    keys.push_back(Put());
    store_.SetEnabled(keys.back(), false);
  }
  disabled_.Tick(now_);
  Forgetting forgetting(disabled_);
  forgetting.Begin();
  std::vector<KeyId> told = Told(forgetting);
  std::ranges::sort(told);
  std::ranges::sort(keys);
  EXPECT_EQ(told, keys);
  EXPECT_TRUE(Told(forgetting).empty());

  const KeyId late = Put();
  store_.SetEnabled(late, false);
  LetPass(seconds(1));
  EXPECT_EQ(Told(forgetting), std::vector<KeyId>{late});
  EXPECT_TRUE(Told(forgetting).empty());
  // Again, and the last time when whatever was under way then has long arrived.
  std::vector<Duration> again;
  for (int i = 1; i <= 20; ++i) {
    LetPass(seconds(1));
    if (!Told(forgetting).empty()) again.push_back(seconds(i));
  }
  ASSERT_FALSE(again.empty());
  EXPECT_GE(again.back(), Forgetting::kAgainAfter);
  EXPECT_LE(again.size(), 2u) << "and then no more";

  forgetting.Begin();
  EXPECT_EQ(Told(forgetting).size(), 11u) << "another process";
}

TEST_F(DisabledKeysTest, AnEnclaveThatMissedSomeIsToldOfAll) {
  disabled_.Tick(now_);
  Forgetting forgetting(disabled_);
  forgetting.Begin();
  EXPECT_TRUE(Told(forgetting).empty());
  const KeyId key = Put();
  store_.SetEnabled(key, false);
  LetPass(seconds(1));
  const KeyId other = Put();
  for (std::size_t i = 0; i <= DisabledKeys::kRecentMax; ++i) {  // it is known no more
    store_.SetEnabled(other, false);
    LetPass(seconds(1));
    store_.SetEnabled(other, true);
    LetPass(seconds(1));
  }
  EXPECT_EQ(Told(forgetting), std::vector<KeyId>{key});
}

}  // namespace
}  // namespace bulla
