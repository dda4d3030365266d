#include "enclave/key_shard.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>

#include "tests/fakes/small_key_cache.h"

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using Verdict = KeyShard::Verdict;

const MonotonicTime kStart{hours(1)};

// A blob as the shard sees it: a header that can be read. What is in it is not the shard's
// business.
SealedBlob BlobOf(const SealedKeyHeader& header) {
  Secret<32> dek;
  Secret<32> key;
  SealedBlob blob;
  Bytes sealed = *SealKey(dek, header, key);
  std::ranges::copy(sealed, blob.begin());
  return blob;
}

// One shard, by hand: what its owner does in threads happens here step by step.
class KeyShardTest : public testing::Test {
 protected:
  KeyShardTest() {
    dek_key_.Expose()[0] = 1;
    OpenDek(kStart);
  }

  static std::unique_ptr<SecretArena> NewArena(std::size_t slots) {
    return *SecretArena::Create({.slot_bytes = 32, .budget_bytes = slots * 32});
  }
  KeyShard NewShard(const KeyPolicy& policy, std::size_t slots = 100,
                    std::size_t share_bytes = 1 << 20) {
    return {kStart, NewArena(slots), *deks_, policy, share_bytes};
  }

  void OpenDek(MonotonicTime at) {
    ASSERT_TRUE(deks_->Open(dek_id_, Bytes(1, 1), dek_key_, at, 0).ok());
  }

  KeyId LoadKey(KeyShard& shard, MonotonicTime now = kStart) {
    KeyId id = KeyId::New({});
    SealedKeyHeader header{id, dek_id_, {}};
    shard.Load(header, BlobOf(header), now);
    return id;
  }

  Verdict Sign(KeyShard& shard, const KeyId& id, MonotonicTime now) {
    answer_ = shard.Sign(id, now, lease_, [&] {
      return SignTask{.item = {.sequence = ++sequence_, .key_id = id},
                      .expires = now + seconds(1),
                      .wait_until = now + milliseconds(3)};
    });
    return answer_.verdict;
  }

  KeyShard::Released CompleteFlight(KeyShard& shard, const KeyId& id, MonotonicTime now,
                                    std::uint64_t random = 0) {
    OpenedSecret opened{{}, {}, deks_->Validity(dek_id_, now)};
    std::ranges::copy(id.bytes, opened.secret.Expose().begin());
    if (opened.dek == nullptr) opened.dek = std::make_shared<DekValidity>(now);
    return shard.CompleteFlight(id, opened, now, random);
  }

  KeyId WarmKey(KeyShard& shard, MonotonicTime now = kStart, std::uint64_t random = 0) {
    KeyId id = LoadKey(shard, now);
    EXPECT_EQ(Sign(shard, id, now), Verdict::kLeading);
    CompleteFlight(shard, id, now, random);
    return id;
  }

  std::size_t Advance(KeyShard& shard, MonotonicTime now) {
    std::vector<SignTask> rehydrate_timeout;
    shard.Advance(now, rehydrate_timeout);
    return rehydrate_timeout.size();
  }

  static bool IsWiped(const KeyShard& shard) {
    for (std::uint32_t slot = 0; slot < shard.arena().slots(); ++slot) {
      ByteSpan bytes = shard.arena().Expose(slot);
      if (std::ranges::any_of(bytes, [](std::uint8_t byte) { return byte != 0; })) return false;
    }
    return true;
  }

  const DekId dek_id_ = DekId::New({});
  Secret<32> dek_key_;
  const std::unique_ptr<DekTable> deks_ = NewDekTable();
  KeyLease lease_;
  KeyShard::Answer answer_;
  std::uint32_t sequence_ = 0;
};

TEST_F(KeyShardTest, AColdKeyIsOpenedByTheFirstWhoAsksAndTheOthersWait) {
  KeyShard shard = NewShard({});
  KeyId id = LoadKey(shard);
  EXPECT_EQ(Sign(shard, id, kStart), Verdict::kLeading);
  EXPECT_EQ(Sign(shard, id, kStart), Verdict::kWaiting);
  EXPECT_EQ(Sign(shard, id, kStart), Verdict::kWaiting);
  KeyShard::Released released = CompleteFlight(shard, id, kStart);
  EXPECT_EQ(released.status, ItemStatus::kOk);
  EXPECT_EQ(released.tasks.size(), 3u);
  ASSERT_EQ(Sign(shard, id, kStart), Verdict::kGranted);
  EXPECT_TRUE(std::ranges::equal(id.bytes, lease_.secret.Expose().first(KeyId::kBytes)));
}

TEST_F(KeyShardTest, FailureIsSharedLikeSuccess) {
  KeyShard shard = NewShard({});
  KeyId id = LoadKey(shard);
  Sign(shard, id, kStart);
  Sign(shard, id, kStart);
  KeyShard::Released released = shard.LandFailed(id, ItemStatus::kNeedDek, kStart);
  EXPECT_EQ(released.status, ItemStatus::kNeedDek);
  EXPECT_EQ(released.tasks.size(), 2u);
  EXPECT_EQ(Sign(shard, id, kStart), Verdict::kLeading) << "the next one tries again";
}

TEST_F(KeyShardTest, ABlobThatDoesNotOpenIsAskedForAgain) {
  KeyShard shard = NewShard({});
  KeyId id = LoadKey(shard);
  Sign(shard, id, kStart);
  EXPECT_EQ(shard.LandFailed(id, ItemStatus::kRefused, kStart).status, ItemStatus::kRefused);
  EXPECT_EQ(Sign(shard, id, kStart), Verdict::kRefused);
  EXPECT_EQ(answer_.status, ItemStatus::kNeedBlob);
}

TEST_F(KeyShardTest, AWaiterIsGivenBackWithinItsBudgetWhileTheFlightGoesOn) {
  KeyShard shard = NewShard({});
  KeyId id = LoadKey(shard);
  Sign(shard, id, kStart);
  EXPECT_EQ(Advance(shard, kStart + milliseconds(3)), 1u);
  KeyShard::Released released = CompleteFlight(shard, id, kStart + milliseconds(4));
  EXPECT_TRUE(released.tasks.empty());
  EXPECT_EQ(Sign(shard, id, kStart + milliseconds(4)), Verdict::kGranted);
}

TEST_F(KeyShardTest, NobodyWaitsForAFlightThatIsOverdue) {
  KeyShard shard = NewShard({});
  KeyId id = LoadKey(shard);
  Sign(shard, id, kStart);
  EXPECT_EQ(Sign(shard, id, kStart + milliseconds(5)), Verdict::kRefused);
  EXPECT_EQ(answer_.status, ItemStatus::kRehydrateTimeout);
}

TEST_F(KeyShardTest, APlainKeySignsAsOftenAsItMayAndIsWipedWithTheLastUse) {
  KeyShard shard = NewShard({.plain_key_uses_max = 3, .plain_key_low_water_mark = 1});
  KeyId id = WarmKey(shard);
  EXPECT_EQ(Sign(shard, id, kStart), Verdict::kGranted);
  EXPECT_EQ(Sign(shard, id, kStart), Verdict::kGranted);
  EXPECT_FALSE(IsWiped(shard));
  EXPECT_EQ(Sign(shard, id, kStart), Verdict::kGrantedAndLeading) << "one use left";
  EXPECT_TRUE(IsWiped(shard));
  EXPECT_EQ(Sign(shard, id, kStart), Verdict::kWaiting) << "the refresh is under way";
}

TEST_F(KeyShardTest, AnIdlePlainKeyIsWipedWithin100MsOfItsHardDeadline) {
  KeyShard shard = NewShard({});
  WarmKey(shard);
  for (milliseconds t{0}; t < minutes(16); t += milliseconds(500)) Advance(shard, kStart + t);
  EXPECT_EQ(shard.arena().taken(), 1u);
  Advance(shard, kStart + minutes(16) + milliseconds(20));
  EXPECT_EQ(shard.arena().taken(), 0u);
  EXPECT_TRUE(IsWiped(shard));
  EXPECT_EQ(shard.CountsAt(kStart + minutes(17)).cool, 1u);
}

TEST_F(KeyShardTest, PastItsHardDeadlineAPlainKeySignsNothingThoughNoTimerCame) {
  KeyShard shard = NewShard({});
  KeyId id = WarmKey(shard);
  EXPECT_EQ(Sign(shard, id, kStart + minutes(16)), Verdict::kLeading);
  EXPECT_TRUE(IsWiped(shard));
}

TEST_F(KeyShardTest, AKeyInUseIsRefreshedOnceInItsWindowAndSignsMeanwhile) {
  KeyShard shard = NewShard({});
  KeyId id = WarmKey(shard);  // random 0: the earliest, 13 m less a tenth
  const Duration earliest = Duration(minutes(13)) * 9 / 10;
  EXPECT_EQ(Sign(shard, id, kStart + earliest - milliseconds(1)), Verdict::kGranted);
  EXPECT_EQ(Sign(shard, id, kStart + earliest), Verdict::kGrantedAndLeading);
  EXPECT_EQ(Sign(shard, id, kStart + earliest), Verdict::kGranted) << "one flight is enough";
  CompleteFlight(shard, id, kStart + earliest);
  EXPECT_EQ(Sign(shard, id, kStart + earliest), Verdict::kGranted);
  EXPECT_EQ(Sign(shard, id, kStart + minutes(16)), Verdict::kGranted) << "it has a new deadline";
}

TEST_F(KeyShardTest, RefreshesAreSpreadOverATenthEitherWayAndNeverPastTheSoftTtl) {
  KeyShard shard = NewShard({});
  Duration earliest = Duration::max();
  Duration latest{};
  for (std::uint64_t i = 0; i < 90; ++i) {
    KeyId id = WarmKey(shard, kStart, i * 0x123456789abcdef);
    Duration after = shard.ViewOf(id, kStart).facts.refresh_at - kStart;
    earliest = std::min(earliest, after);
    latest = std::max(latest, after);
  }
  EXPECT_GE(earliest, Duration(minutes(13)) * 9 / 10);
  EXPECT_LE(latest, Duration(minutes(13)) * 11 / 10);
  EXPECT_GT(latest - earliest, minutes(2));
}

TEST_F(KeyShardTest, ALapsedDekStopsEveryKeyAtOnceAndTheirSecretsAreWiped) {
  KeyShard shard = NewShard({});
  deks_->SetPolicy({.dek_ttl_hard = minutes(10)});
  KeyId id = WarmKey(shard);
  EXPECT_EQ(Sign(shard, id, kStart + minutes(10)), Verdict::kRefused);
  EXPECT_EQ(answer_.status, ItemStatus::kNeedDek);
  WarmKey(shard, kStart + minutes(9));
  Advance(shard, kStart + minutes(10) + milliseconds(20));
  EXPECT_TRUE(IsWiped(shard));
  EXPECT_EQ(shard.CountsAt(kStart + minutes(11)).invalid, 2u);
}

TEST_F(KeyShardTest, ARenewedDekNeedsNoWalkOverItsKeys) {
  KeyShard shard = NewShard({});
  deks_->SetPolicy({.dek_ttl_hard = minutes(10)});
  KeyId id = WarmKey(shard);
  deks_->SetPolicy({});
  OpenDek(kStart + minutes(9));
  Advance(shard, kStart + minutes(10) + milliseconds(20));
  EXPECT_EQ(Sign(shard, id, kStart + minutes(11)), Verdict::kGranted);
  Advance(shard, kStart + minutes(16) + milliseconds(20));
  EXPECT_TRUE(IsWiped(shard)) << "its own deadline still holds";
}

TEST_F(KeyShardTest, ADekThatLapsesWhileAKeyIsOpenedFailsTheFlight) {
  KeyShard shard = NewShard({});
  KeyId id = LoadKey(shard);
  EXPECT_EQ(Sign(shard, id, kStart + minutes(60) - milliseconds(1)), Verdict::kLeading);
  KeyShard::Released released = CompleteFlight(shard, id, kStart + minutes(60));
  EXPECT_EQ(released.status, ItemStatus::kNeedDek);
  EXPECT_EQ(released.tasks.size(), 1u);
  EXPECT_TRUE(IsWiped(shard));
}

TEST_F(KeyShardTest, OverTheLockedBudgetTheLeastRecentlyUsedIsWiped) {
  KeyShard shard = NewShard({}, /*slots=*/2);
  KeyId a = WarmKey(shard);
  KeyId b = WarmKey(shard, kStart + seconds(2));
  EXPECT_EQ(Sign(shard, a, kStart + seconds(4)), Verdict::kGranted);
  WarmKey(shard, kStart + seconds(6));
  EXPECT_EQ(Sign(shard, a, kStart + seconds(6)), Verdict::kGranted);
  EXPECT_EQ(shard.ViewOf(b, kStart + seconds(6)).state, KeyState::kCool);
  EXPECT_EQ(shard.CountsAt(kStart).secrets_evicted, 1u);
  EXPECT_EQ(shard.arena().taken(), 2u);
}

TEST_F(KeyShardTest, OverTheMemoryBudgetTheLeastRecentlyUsedBlobIsDropped) {
  KeyShard shard = NewShard({}, /*slots=*/1, /*share_bytes=*/320 * 2 + 3 * 256);
  KeyId warm = WarmKey(shard);
  std::vector<KeyId> ids;
  for (std::size_t i = 0; i < shard.keys_max(); ++i) ids.push_back(LoadKey(shard));
  EXPECT_EQ(Sign(shard, ids[0], kStart), Verdict::kRefused) << "the first blob made room";
  EXPECT_EQ(answer_.status, ItemStatus::kNeedBlob);
  EXPECT_EQ(shard.CountsAt(kStart).blobs_evicted, 1u);
  EXPECT_EQ(Sign(shard, warm, kStart), Verdict::kGranted) << "blobs do not push out a key in use";
}

TEST_F(KeyShardTest, ALoweredBudgetIsMetByAndBy) {
  KeyShard shard = NewShard({});
  for (int i = 0; i < 90; ++i) WarmKey(shard);
  for (int i = 0; i < 300; ++i) LoadKey(shard);
  shard.SetPolicy({}, 320 * 20 + 256 * 10);
  for (int i = 1; i < 10; ++i) Advance(shard, kStart + milliseconds(i));
  KeyShard::Counts counts = shard.CountsAt(kStart);
  EXPECT_LE(counts.warm + counts.cool, shard.keys_max());
  EXPECT_LE(shard.arena().taken(), 20u);
}

TEST_F(KeyShardTest, ATighterPolicyHoldsForTheKeysThatAreHere) {
  KeyShard shard = NewShard({});
  KeyId id = WarmKey(shard);
  KeyPolicy tight{.plain_key_ttl_soft = minutes(4),
                  .plain_key_ttl_hard = minutes(5),
                  .plain_key_uses_max = 2,
                  .plain_key_refresh_window = minutes(1)};
  shard.SetPolicy(tight, 1 << 20);
  EXPECT_EQ(shard.ViewOf(id, kStart).facts.uses_left, 2u);
  EXPECT_LE(shard.ViewOf(id, kStart).facts.refresh_at, kStart + minutes(4));
  Advance(shard, kStart + minutes(5) + milliseconds(20));
  EXPECT_TRUE(IsWiped(shard));
  shard.SetPolicy({}, 1 << 20);
  EXPECT_EQ(Sign(shard, id, kStart + minutes(6)), Verdict::kLeading);
}

TEST_F(KeyShardTest, ABlobThatIsLoadedAgainChangesNothing) {
  KeyShard shard = NewShard({});
  KeyId id = WarmKey(shard);
  SealedKeyHeader header{id, DekId::New({}), {}};
  shard.Load(header, BlobOf(header), kStart);
  EXPECT_EQ(Sign(shard, id, kStart), Verdict::kGranted);
  EXPECT_EQ(shard.CountsAt(kStart).warm, 1u);
}

TEST_F(KeyShardTest, ANewKeyUnderAnOldIdTakesItsPlaceWhole) {
  KeyShard shard = NewShard({});
  KeyId id = WarmKey(shard);
  SealedKeyHeader header{id, dek_id_, {}};
  OpenedSecret other{{}, {}, deks_->Validity(dek_id_, kStart)};
  other.secret.Expose()[31] = 9;
  ASSERT_TRUE(shard.InsertWarm(header, BlobOf(header), other, kStart, 0));
  ASSERT_EQ(Sign(shard, id, kStart), Verdict::kGranted);
  EXPECT_EQ(lease_.secret.Expose()[31], 9);
  EXPECT_EQ(lease_.secret.Expose()[0], 0) << "nothing of the old key";
}

TEST_F(KeyShardTest, AKeyThatIsBeingOpenedIsNotReplaced) {
  KeyShard shard = NewShard({});
  KeyId id = LoadKey(shard);
  Sign(shard, id, kStart);
  SealedKeyHeader header{id, dek_id_, {}};
  EXPECT_FALSE(shard.InsertWarm(header, BlobOf(header), {{}, {}, deks_->Validity(dek_id_, kStart)},
                                kStart, 0));
  EXPECT_EQ(CompleteFlight(shard, id, kStart).tasks.size(), 1u);
}

TEST_F(KeyShardTest, AForgottenKeyLeavesNeitherSecretNorBlob) {
  KeyShard shard = NewShard({});
  const KeyId warm = WarmKey(shard);
  const KeyId cool = LoadKey(shard);
  for (const KeyId& id : {warm, cool, KeyId::New({})}) {
    shard.Forget(id);
    EXPECT_EQ(shard.ViewOf(id, kStart).state, KeyState::kAbsent);
    EXPECT_EQ(Sign(shard, id, kStart), Verdict::kRefused);
    EXPECT_EQ(answer_.status, ItemStatus::kNeedBlob);
  }
  EXPECT_TRUE(IsWiped(shard));
  EXPECT_EQ(shard.CountsAt(kStart).warm + shard.CountsAt(kStart).cool, 0u);
}

TEST_F(KeyShardTest, AKeyThatIsForgottenWhileItIsOpenedDoesNotComeBack) {
  KeyShard shard = NewShard({});
  const KeyId opening = LoadKey(shard);
  ASSERT_EQ(Sign(shard, opening, kStart), Verdict::kLeading);
  const KeyId refreshing = WarmKey(shard);
  const MonotonicTime later = kStart + minutes(14);
  ASSERT_EQ(Sign(shard, refreshing, later), Verdict::kGrantedAndLeading);
  for (const KeyId& id : {opening, refreshing}) {
    shard.Forget(id);
    KeyShard::Released released = CompleteFlight(shard, id, later);
    EXPECT_EQ(released.status, ItemStatus::kNeedBlob);
    EXPECT_EQ(released.tasks.size(), id == opening ? 1u : 0u);
    EXPECT_EQ(shard.ViewOf(id, later).state, KeyState::kAbsent);
  }
  EXPECT_TRUE(IsWiped(shard));
}

TEST_F(KeyShardTest, WaitersAreBoundedAndTheNextIsRefusedAtOnce) {
  KeyShard shard = NewShard({});
  KeyId id = LoadKey(shard);
  int waiting = 0;
  while (Sign(shard, id, kStart) != Verdict::kRefused) ++waiting;
  EXPECT_EQ(answer_.status, ItemStatus::kBusy);
  EXPECT_EQ(waiting, 2048);
  EXPECT_EQ(CompleteFlight(shard, id, kStart).tasks.size(), 2048u);
}

}  // namespace
}  // namespace bulla
