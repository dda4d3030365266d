// Does any order of events make the enclave sign with a key that it may not use any more, keep a
// plain key too long, or leave a caller without an answer? Thousands of keys under dozens of DEKs
// live through days here: signatures hot and cold, openings that take long or fail, a KMS that is
// late or away, budgets and policies that change. Time and chance come from one seed, and a model
// (key_model.h) says of each step what must come of it. What is not here: crypto and threads.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "tests/fakes/small_key_cache.h"
#include "tests/simulation/chance_and_time.h"
#include "tests/simulation/key_model.h"

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using Verdict = KeyShard::Verdict;

constexpr int kStepsPerRecount = 2'000;  // a look at every key and every slot
constexpr std::size_t kKeys = 4'000;
constexpr std::size_t kHotKeys = 24;  // get half of the signatures
constexpr std::size_t kDeks = 40;
constexpr std::size_t kShards = 4;
constexpr std::size_t kSlots = 300;  // of each shard: a third of its keys may be WARM
constexpr Duration kWipeInterval = milliseconds(10);  // as KeyCache's
constexpr Duration kPollInterval = seconds(1);        // of the gateway for DEKs to renew
constexpr double kCoolServedMin = 0.995;
const MonotonicTime kStart{hours(1000)};

// Few uses, so that they run out; the other settings as the spec has them.
const KeyPolicy kLoose{.plain_key_uses_max = 400, .plain_key_low_water_mark = 40};
const KeyPolicy kTight{.plain_key_ttl_soft = minutes(3),
                       .plain_key_ttl_hard = minutes(4),
                       .plain_key_uses_max = 30,
                       .plain_key_refresh_window = minutes(1),
                       .plain_key_low_water_mark = 10,
                       .dek_ttl_soft = minutes(20),
                       .dek_ttl_hard = minutes(25),
                       .sign_wait_budget = milliseconds(2),
                       .hard_refresh_budget = milliseconds(3)};
// Of one shard: for all its keys and more, for most of them, for half.
constexpr std::size_t kShares[] = {1 << 20, 300'000, 200'000};

class Simulation {
 public:
  Simulation(std::uint64_t seed, int steps) : steps_(steps), dice_(seed) {
    for (std::size_t i = 0; i < kShards; ++i) {
      auto arena = SecretArena::Create({.slot_bytes = 32, .budget_bytes = kSlots * 32});
      shards_.push_back(
          std::make_unique<KeyShard>(kStart, *std::move(arena), *deks_, policy_, share_));
    }
    for (Dek& dek : data_keys_) dek.id = NewId<DekId>();
    for (Key& key : keys_) {
      key.header = {NewId<KeyId>(), {}, {}};
      Seal(key);
    }
    // Of different ages, as after days.
    for (std::size_t dek = 0; dek < kDeks; ++dek) {
      OpenDek(dek, now_ - dice_.Between(Duration(0), minutes(50)));
    }
    Poll();
  }

  void Run() {
    for (step_ = 1; step_ <= steps_ && !testing::Test::HasFailure(); ++step_) {
      AdvanceTo(now_ + NextPause());
      DoSomething();
      if (step_ % kStepsPerRecount == 0) Recount();
    }
    ending_ = true;
    if (!testing::Test::HasFailure()) AdvanceTo(now_ + minutes(1));
    Recount();
    EXPECT_TRUE(agenda_.empty());
    EXPECT_EQ(model_.flights(), 0u);
    EXPECT_EQ(model_.waiters(), 0u);
  }

  std::uint64_t history() const { return history_; }
  std::uint64_t forgotten() const { return forgotten_; }
  std::uint64_t answers(ItemStatus status) const {
    return answers_[static_cast<std::size_t>(status)];
  }

  std::string Summary() const {
    auto count = [this](ItemStatus status) { return answers(status); };
    return fmt::format(
        "{} steps, {:.1f} simulated hours, {} DEKs opened, {} unlocks failed, {} policies set\n"
        "answers: {} signatures, {} need a blob, {} need a DEK, {} timed out rehydrating, {} told "
        "of a bad "
        "blob, {} of a fault\n"
        "openings: {}, failed {}, ahead of time {}, of keys forgotten meanwhile {}; evicted: {} "
        "plain "
        "keys, {} blobs\n"
        "asked of COOL keys: {}, signed within the budget: {:.3f} %; history {:016x}\n",
        step_ - 1, std::chrono::duration<double, std::ratio<3600>>(now_ - kStart).count(),
        deks_opened_, unlocks_failed_, policies_, count(ItemStatus::kOk),
        count(ItemStatus::kNeedBlob), count(ItemStatus::kNeedDek),
        count(ItemStatus::kRehydrateTimeout), count(ItemStatus::kRefused),
        count(ItemStatus::kFault), flights_, flights_failed_, refreshes_, forgotten_,
        totals_.secrets_evicted, totals_.blobs_evicted, cool_asked_, 100.0 * CoolServed(),
        history_);
  }
  double CoolServed() const {
    return static_cast<double>(cool_served_) / static_cast<double>(cool_asked_);
  }

 private:
  struct Key {
    SealedKeyHeader header;
    std::size_t dek = 0;
    SealedBlob blob{};  // in the gateway's store
    std::uint8_t version = 0;
  };
  struct Dek {
    DekId id;
    bool unlocking = false;
  };
  struct Asked {
    std::size_t key;
    bool cool;
  };

  // ---- what the world is made of

  template <typename Id>
  Id NewId() {
    Id id;
    for (std::uint8_t& byte : id.bytes) byte = static_cast<std::uint8_t>(dice_.Roll());
    return id;
  }

  void Seal(Key& key) {
    key.dek = dice_.Below(kDeks);
    key.header.dek_id = data_keys_[key.dek].id;
    ++key.version;
    std::ranges::copy(*SealKey({}, key.header, {}), key.blob.begin());
  }

  // As if it had come out of the blob: another one for each key and version.
  static Secret<32> SecretOf(const Key& key) {
    Secret<32> secret;
    std::ranges::copy(key.header.key_id.bytes, secret.Expose().begin());
    secret.Expose()[31] = key.version;
    return secret;
  }

  KeyShard& ShardOf(std::size_t key) { return *shards_[key % kShards]; }

  KeyShard::View Look(std::size_t key) {
    KeyShard::View view = ShardOf(key).ViewOf(keys_[key].header.key_id, now_);
    model_.Look(key, view, now_);
    return view;
  }

  void Note(std::uint64_t what) { history_ = (history_ ^ what) * 0x100000001b3; }

  // ---- time

  Duration NextPause() {
    if (dice_.OneIn(1000)) return dice_.Between(Duration(0), minutes(2));
    if (dice_.OneIn(100)) return dice_.Between(Duration(0), seconds(2));
    if (dice_.OneIn(50)) return dice_.Between(Duration(0), milliseconds(5));
    return dice_.Between(Duration(0), microseconds(100));
  }

  // The ticker comes each millisecond, and in long pauses as late as a busy machine would have it.
  void AdvanceTo(MonotonicTime target) {
    while (!testing::Test::HasFailure()) {
      const MonotonicTime event = agenda_.empty() ? MonotonicTime::max() : agenda_.next();
      const MonotonicTime next = std::min(event, next_tick_);
      if (next > target) break;
      now_ = next;
      if (event <= next_tick_) {
        agenda_.Take()();
      } else {
        Tick();
        next_tick_ = now_ + std::max<Duration>(SingleFlight::kTick, (target - now_) / 16);
      }
    }
    now_ = target;
  }

  void Tick() {
    deks_->Advance(now_);
    model_.DeksAdvanced(now_);
    const bool wipe = now_ - wiped_at_ >= kWipeInterval;
    if (wipe) wiped_at_ = now_;
    std::vector<SignTask> rehydrate_timeout;
    for (auto& shard : shards_) {
      if (wipe) {
        shard->Advance(now_, rehydrate_timeout);
      } else {
        shard->AdvanceWaiters(now_, rehydrate_timeout);
      }
    }
    for (const SignTask& task : rehydrate_timeout) {
      model_.GivenBack(task, /*rehydrate_timeout=*/true, now_);
      Answer(task, ItemStatus::kRehydrateTimeout);
    }
    model_.WaitersAdvanced(now_);
    if (!wipe) return;
    ++wipes_since_share_;
    for (std::size_t key : model_.OverBy(now_)) Look(key);
  }

  // ---- callers

  void DoSomething() {
    const std::size_t hot = dice_.Below(kHotKeys);
    const std::size_t any = dice_.Below(kKeys);
    const std::size_t what = dice_.Below(10'000);
    if (what < 4500) return Ask(hot);
    if (what < 9000) return Ask(any);
    if (what < 9100) return Crowd(dice_.OneIn(2) ? hot : any);
    if (what < 9800) return Load(any);
    if (what < 9990) return Create(any);
    if (what < 9995) return SetPolicy();
    if (what < 9996) return Forget(any);
    if (what < 9997) kms_back_at_ = now_ + dice_.Between(minutes(1), minutes(12));
  }

  void Crowd(std::size_t key) {
    for (std::size_t i = dice_.Below(30); i > 0; --i) Ask(key);
  }

  void Ask(std::size_t key) {
    SignTask task{.item = {.sequence = ++sequence_, .key_id = keys_[key].header.key_id},
                  .expires = now_ + seconds(1),
                  .wait_until = now_ + policy_.sign_wait_budget};
    const bool cool = TemperatureOf(Look(key).state) == KeyTemperature::kCool;
    cool_asked_ += cool ? 1 : 0;
    asked_.emplace(sequence_, Asked{key, cool});
    Sign(task);
  }

  // As KeyOperations does it.
  void Sign(const SignTask& task) {
    const std::size_t key = asked_.at(task.item.sequence).key;
    Look(key);
    KeyLease lease;
    bool joined = false;
    KeyShard::Answer answer = ShardOf(key).Sign(task.item.key_id, now_, lease, [&] {
      joined = true;
      return task;
    });
    Note(static_cast<std::uint64_t>(answer.verdict) * 16 +
         static_cast<std::uint64_t>(answer.status));
    model_.Asked(key, answer, now_);
    const bool leading =
        answer.verdict == Verdict::kLeading || answer.verdict == Verdict::kGrantedAndLeading;
    if (leading) BeginFlight(key);
    refreshes_ += answer.verdict == Verdict::kGrantedAndLeading ? 1 : 0;
    const bool waits = answer.verdict == Verdict::kLeading || answer.verdict == Verdict::kWaiting;
    EXPECT_EQ(joined, waits);
    if (waits) return model_.Joined(task, now_);
    if (answer.verdict == Verdict::kRefused) return Answer(task, answer.status);
    EXPECT_TRUE(std::ranges::equal(lease.secret.Expose(), SecretOf(keys_[key]).Expose()))
        << "key " << key << " signs with another's plain key";
    Answer(task, ItemStatus::kOk);
  }

  // The one answer that a caller gets; and what a gateway does about it.
  void Answer(const SignTask& task, ItemStatus status) {
    auto it = asked_.find(task.item.sequence);
    ASSERT_NE(it, asked_.end()) << "signature " << task.item.sequence << " was answered twice";
    const auto [key, cool] = it->second;
    asked_.erase(it);
    Note(static_cast<std::uint64_t>(status));
    ++answers_[static_cast<std::size_t>(status)];
    if (cool && status == ItemStatus::kOk && now_ <= task.wait_until) ++cool_served_;
    if (ending_) return;
    if (status == ItemStatus::kNeedBlob) {
      agenda_.At(now_ + dice_.Between(microseconds(100), microseconds(500)), [this, key = key] {
        Load(key);
        Ask(key);
      });
    } else if (status == ItemStatus::kNeedDek) {
      Unlock(keys_[key].dek);
    }
  }

  // ---- flights

  // A worker takes the blob and the DEK when it comes to it, and is back when it has opened it.
  void BeginFlight(std::size_t key) {
    if (dice_.OneIn(1'000)) {
      agenda_.At(now_ + dice_.Between(Duration(0), microseconds(100)),
                 [this, key] { Forget(key); });
    }
    agenda_.At(now_ + dice_.Between(Duration(0), microseconds(20)), [this, key] {
      SealedBlob blob;
      const bool here = ShardOf(key).BlobOf(keys_[key].header.key_id, blob);
      EXPECT_EQ(here, model_.blob(key)) << "of a flight: " << key;
      if (here) {
        EXPECT_EQ(blob, keys_[key].blob);
      }
      std::shared_ptr<const DekValidity> dek = deks_->Validity(data_keys_[keys_[key].dek].id, now_);
      EXPECT_EQ(dek != nullptr, model_.DekOpen(keys_[key].dek, now_));
      const std::size_t generation = model_.GenerationOf(keys_[key].dek);
      ItemStatus fault = ItemStatus::kOk;
      if (dice_.OneIn(2'000)) fault = ItemStatus::kRefused;
      if (dice_.OneIn(2'000)) fault = ItemStatus::kFault;
      if (dek == nullptr) fault = ItemStatus::kNeedDek;
      if (!here) fault = ItemStatus::kNeedBlob;
      agenda_.At(now_ + FlightTime(),
                 [this, key, fault, dek, generation] { EndFlight(key, fault, dek, generation); });
    });
  }

  Duration FlightTime() {
    if (dice_.OneIn(1000)) return dice_.Between(milliseconds(1), milliseconds(20));
    if (dice_.OneIn(50)) return dice_.Between(microseconds(100), milliseconds(1));
    return dice_.Between(microseconds(40), microseconds(100));
  }

  void EndFlight(std::size_t key, ItemStatus fault, const std::shared_ptr<const DekValidity>& dek,
                 std::size_t generation) {
    Look(key);
    KeyShard& shard = ShardOf(key);
    const KeyId& id = keys_[key].header.key_id;
    KeyShard::Released released;
    ++flights_;
    if (fault == ItemStatus::kOk) {
      released = shard.CompleteFlight(id, {SecretOf(keys_[key]), {}, dek}, now_, dice_.Roll());
      model_.FlightCompleted(key, generation, released.status, now_);
    } else {
      released = shard.LandFailed(id, fault, now_);
      model_.FlightFailed(key, fault, released.status);
    }
    flights_failed_ += released.status == ItemStatus::kOk ? 0 : 1;
    for (const SignTask& task : released.tasks) model_.GivenBack(task, false, now_);
    for (const SignTask& task : released.tasks) {
      if (released.status != ItemStatus::kOk) {
        Answer(task, released.status);
      } else {
        Sign(task);
      }
    }
  }

  // ---- blobs

  void Load(std::size_t key) {
    Look(key);
    ShardOf(key).Load(keys_[key].header, keys_[key].blob, now_);
    model_.Loaded(key, keys_[key].dek);
  }

  // A new key under an old id, which is another key; not while the old one is being opened.
  void Create(std::size_t key) {
    Look(key);
    if (model_.flight(key)) return;
    Seal(keys_[key]);
    auto dek = deks_->Validity(data_keys_[keys_[key].dek].id, now_);
    if (dek == nullptr) dek = std::make_shared<DekValidity>(now_);
    ShardOf(key).InsertWarm(keys_[key].header, keys_[key].blob, {SecretOf(keys_[key]), {}, dek},
                            now_, dice_.Roll());
    model_.Inserted(key, keys_[key].dek, now_);
  }

  // The key was disabled; and is enabled again, for it is asked for as before.
  void Forget(std::size_t key) {
    Look(key);
    ShardOf(key).Forget(keys_[key].header.key_id);
    model_.Forgotten(key);
    forgotten_ += model_.flight(key) ? 1 : 0;
  }

  // ---- DEKs

  void OpenDek(std::size_t dek, MonotonicTime asked_at) {
    ASSERT_TRUE(deks_->Open(data_keys_[dek].id, Bytes(1, 1), {}, asked_at, dice_.Roll()).ok());
    model_.DekOpened(dek, asked_at, now_);
    ++deks_opened_;
  }

  void Poll() {
    std::vector<DekId> due = deks_->TakeRenewals(now_, kDeks);
    for (std::size_t dek = 0; dek < kDeks; ++dek) {
      if (std::ranges::find(due, data_keys_[dek].id) != due.end()) Unlock(dek);
    }
    if (!ending_) agenda_.At(now_ + kPollInterval, [this] { Poll(); });
  }

  // In the background, once at a time (but for a second gateway now and then, whose answer may
  // come before the first's); late at times, and failing while KMS is away.
  void Unlock(std::size_t dek) {
    if (data_keys_[dek].unlocking && !dice_.OneIn(20)) return;
    data_keys_[dek].unlocking = true;
    const MonotonicTime asked_at = now_;
    const Duration takes = dice_.OneIn(20) ? dice_.Between(Duration(0), seconds(20))
                                           : dice_.Between(milliseconds(2), milliseconds(50));
    agenda_.At(now_ + takes, [this, dek, asked_at] {
      data_keys_[dek].unlocking = false;
      if (now_ >= kms_back_at_ && !dice_.OneIn(30)) return OpenDek(dek, asked_at);
      deks_->RenewalFailed(data_keys_[dek].id);
      ++unlocks_failed_;
    });
  }

  // ---- settings

  void SetPolicy() {
    policy_ = dice_.OneIn(3) ? kTight : kLoose;
    share_ = kShares[dice_.Below(std::size(kShares))];
    deks_->SetPolicy(policy_);
    for (auto& shard : shards_) shard->SetPolicy(policy_, share_);
    model_.PolicySet(policy_);
    wipes_since_share_ = 0;
    ++policies_;
  }

  // ---- everything at once

  void Recount() {
    totals_ = {};
    for (std::size_t i = 0; i < kShards; ++i) RecountShard(i);
    EXPECT_EQ(totals_.waiters, model_.waiters());
    EXPECT_EQ(totals_.blobs_evicted, model_.blobs_lost());
    EXPECT_GE(totals_.secrets_evicted, model_.secrets_lost());
    if (testing::Test::HasFailure()) fmt::print("at step {}\n", step_);
  }

  void RecountShard(std::size_t index) {
    const KeyShard& shard = *shards_[index];
    KeyShard::Counts want;
    std::size_t secrets = 0;
    std::size_t flights = 0;
    std::size_t blobs = 0;
    for (std::size_t key = index; key < kKeys; key += kShards) {
      const KeyFacts facts = Look(key).facts;
      secrets += facts.secret ? 1 : 0;
      flights += facts.flight ? 1 : 0;
      blobs += facts.blob ? 1 : 0;
      if (!facts.blob) continue;
      const bool open = model_.DekOpen(keys_[key].dek, now_);
      ++(!open ? want.invalid : facts.secret ? want.warm : want.cool);
    }
    const KeyShard::Counts counts = shard.CountsAt(now_);
    EXPECT_EQ(counts.warm, want.warm);
    EXPECT_EQ(counts.cool, want.cool);
    EXPECT_EQ(counts.invalid, want.invalid);
    EXPECT_EQ(shard.arena().taken(), secrets);
    std::size_t not_zero = 0;
    for (std::uint32_t slot = 0; slot < shard.arena().slots(); ++slot) {
      not_zero += std::ranges::count(shard.arena().Expose(slot), 0) < 32 ? 1 : 0;
    }
    EXPECT_EQ(not_zero, secrets) << "a plain key that was not wiped";
    // 64 evictions a call of Advance(); what is being opened stays.
    const std::size_t allowance =
        64 * wipes_since_share_ < kKeys / kShards + kSlots ? kKeys : flights;
    EXPECT_LE(blobs, shard.keys_max() + allowance) << "over the budget";
    totals_.waiters += counts.waiters;
    totals_.secrets_evicted += counts.secrets_evicted;
    totals_.blobs_evicted += counts.blobs_evicted;
  }

  const int steps_;
  Dice dice_;
  KeyPolicy policy_ = kLoose;
  std::size_t share_ = kShares[0];
  MonotonicTime now_ = kStart;
  MonotonicTime next_tick_ = kStart;
  MonotonicTime wiped_at_ = kStart;
  MonotonicTime kms_back_at_ = kStart;
  Agenda agenda_;
  const std::unique_ptr<DekTable> deks_ = NewDekTable(policy_);
  std::vector<std::unique_ptr<KeyShard>> shards_;
  std::vector<Key> keys_{kKeys};
  std::vector<Dek> data_keys_{kDeks};
  KeyModel model_{kKeys, kDeks, policy_};
  std::map<std::uint32_t, Asked> asked_;  // by sequence: signatures that are not answered yet
  bool ending_ = false;                   // no new work
  std::uint32_t sequence_ = 0;
  int step_ = 0;
  std::size_t wipes_since_share_ = 0;
  KeyShard::Counts totals_;  // at the last recount
  std::uint64_t flights_ = 0;
  std::uint64_t flights_failed_ = 0;
  std::uint64_t refreshes_ = 0;
  std::uint64_t forgotten_ = 0;  // while they were being opened
  std::uint64_t deks_opened_ = 0;
  std::uint64_t unlocks_failed_ = 0;
  std::uint64_t policies_ = 0;
  std::array<std::uint64_t, kItemStatusCount> answers_{};  // by status
  std::uint64_t cool_asked_ = 0;
  std::uint64_t cool_served_ = 0;
  std::uint64_t history_ = 0xcbf29ce484222325;  // FNV-1a of every answer: one seed, one history
};

std::uint64_t Seed() {
  const char* text = std::getenv("BULLA_TEST_SEED");
  return text ? std::strtoull(text, nullptr, 10) : RandomUint64();
}

TEST(KeyLife, NoOrderOfEventsLetsAKeySignBeyondItsRightsOrACallerWaitInVain) {
  const std::uint64_t seed = Seed();
  SCOPED_TRACE(fmt::format("BULLA_TEST_SEED={}", seed));
  const RealClock clock;  // how long the run takes, and nothing in it
  const MonotonicTime begin = clock.Now();
  Simulation simulation(seed, BULLA_SIMULATION_STEPS);
  simulation.Run();
  const std::chrono::duration<double> took = clock.Now() - begin;
  fmt::print("BULLA_TEST_SEED={}, {:.1f} s\n{}", seed, took.count(), simulation.Summary());
  if (HasFailure()) return;
  EXPECT_GE(simulation.CoolServed(), kCoolServedMin);
  for (ItemStatus status :
       {ItemStatus::kNeedBlob, ItemStatus::kNeedDek, ItemStatus::kRehydrateTimeout,
        ItemStatus::kRefused, ItemStatus::kFault}) {
    EXPECT_GT(simulation.answers(status), 0u) << "what leads to that was not tested";
  }
  EXPECT_GT(simulation.forgotten(), 0u);
}

TEST(KeyLife, OneSeedIsOneHistory) {
  const std::uint64_t seed = Seed();
  SCOPED_TRACE(fmt::format("BULLA_TEST_SEED={}", seed));
  Simulation one(seed, 100'000);
  Simulation other(seed, 100'000);
  one.Run();
  other.Run();
  EXPECT_EQ(one.history(), other.history());
}

}  // namespace
}  // namespace bulla
