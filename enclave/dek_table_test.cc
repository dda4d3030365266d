#include "enclave/dek_table.h"

#include <gtest/gtest.h>

#include "tests/fakes/small_key_cache.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

const MonotonicTime kStart(std::chrono::hours(1));

const Bytes kWrapped{1, 2, 3};
const Bytes kOtherWrapped{1, 2, 4};

Secret<32> SecretOf(std::uint8_t byte) {
  Secret<32> secret;
  secret.Expose()[5] = byte;
  return secret;
}

class DekTableTest : public testing::Test {
 protected:
  absl::Status Open(MonotonicTime at, std::uint64_t random = 0) {
    return deks_->Open(id_, kWrapped, SecretOf(7), at, random);
  }
  absl::Status AddSealing(const DekId& id, MonotonicTime at) {
    return deks_->AddSealing({id, kWrapped, "arn"}, SecretOf(9), at, 0);
  }
  bool NeedsKms(MonotonicTime at) { return deks_->BytesForKms(id_, kWrapped, at)->has_value(); }
  bool Reported(MonotonicTime at) { return !deks_->TakeRenewals(at, 64).empty(); }

  const DekId id_ = DekId::New({});
  const std::unique_ptr<DekTable> deks_ = NewDekTable();
};

TEST_F(DekTableTest, AnOpenDekIsLentUntilItsHardTtlAndNotAMomentLonger) {
  EXPECT_FALSE(deks_->Acquire(id_, kStart).has_value());
  ASSERT_TRUE(Open(kStart).ok());
  std::optional<DekLease> lease = deks_->Acquire(id_, kStart + minutes(60) - milliseconds(1));
  ASSERT_TRUE(lease.has_value());
  EXPECT_EQ(lease->key.Expose()[5], 7);
  EXPECT_FALSE(deks_->Acquire(id_, kStart + minutes(60)).has_value());
  EXPECT_EQ(deks_->Validity(id_, kStart + minutes(60)), nullptr);
}

TEST_F(DekTableTest, ALapsedDekIsWipedByAdvance) {
  ASSERT_TRUE(Open(kStart).ok());
  deks_->Advance(kStart + minutes(60) - milliseconds(1));
  EXPECT_EQ(deks_->size(), 1u);
  deks_->Advance(kStart + minutes(60));
  EXPECT_EQ(deks_->size(), 0u);
}

TEST_F(DekTableTest, ARenewalReachesWhoeverLooksAtItsValidity) {
  ASSERT_TRUE(Open(kStart).ok());
  std::shared_ptr<const DekValidity> validity = deks_->Validity(id_, kStart);
  ASSERT_TRUE(Open(kStart + minutes(55)).ok());
  EXPECT_EQ(validity->until(), kStart + minutes(115));
  deks_->Advance(kStart + minutes(60));
  EXPECT_EQ(deks_->size(), 1u);
}

TEST_F(DekTableTest, ADekThatOpensToOtherBytesIsRefusedAndTheOldOneStays) {
  ASSERT_TRUE(Open(kStart).ok());
  EXPECT_EQ(deks_->Open(id_, kWrapped, SecretOf(8), kStart + minutes(1), 0).code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(deks_->Acquire(id_, kStart)->key.Expose()[5], 7);
  EXPECT_FALSE(deks_->Acquire(id_, kStart + minutes(60)).has_value());
}

TEST_F(DekTableTest, PastItsSoftTtlADekIsReportedOnceForEachRenewal) {
  ASSERT_TRUE(Open(kStart).ok());
  EXPECT_FALSE(Reported(kStart + minutes(55) - milliseconds(1)));
  EXPECT_FALSE(NeedsKms(kStart + minutes(55) - milliseconds(1)));
  EXPECT_TRUE(Reported(kStart + minutes(55)));
  EXPECT_TRUE(NeedsKms(kStart + minutes(55)));
  EXPECT_FALSE(Reported(kStart + minutes(55) + seconds(1)));
  deks_->RenewalFailed(id_);
  EXPECT_TRUE(Reported(kStart + minutes(55) + seconds(2)));
  ASSERT_TRUE(Open(kStart + minutes(56)).ok());
  EXPECT_FALSE(Reported(kStart + minutes(59)));
  EXPECT_TRUE(Reported(kStart + minutes(56 + 55)));
}

TEST_F(DekTableTest, AReportThatNothingCameOfIsMadeAgain) {
  ASSERT_TRUE(Open(kStart).ok());
  EXPECT_TRUE(Reported(kStart + minutes(55)));
  EXPECT_FALSE(Reported(kStart + minutes(55) + seconds(59)));
  EXPECT_TRUE(Reported(kStart + minutes(56)));
}

TEST_F(DekTableTest, SoftTtlsOfDeksOpenedTogetherAreSpreadOverATenth) {
  ASSERT_TRUE(Open(kStart, /*random=*/0).ok());
  const DekId other = DekId::New({});
  const Duration tenth = Duration(minutes(55)) / 10;
  ASSERT_TRUE(
      deks_->Open(other, kWrapped, SecretOf(1), kStart, static_cast<std::uint64_t>(tenth.count()))
          .ok());
  EXPECT_EQ(deks_->TakeRenewals(kStart + minutes(55) - tenth, 64), std::vector<DekId>{other});
}

TEST_F(DekTableTest, NoMoreDeksAreReportedThanAskedForAndTheRestFollow) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(deks_->Open(DekId::New({}), kWrapped, SecretOf(1), kStart, 0).ok());
  }
  EXPECT_EQ(deks_->TakeRenewals(kStart + minutes(55), 3).size(), 3u);
  EXPECT_EQ(deks_->TakeRenewals(kStart + minutes(55), 3).size(), 2u);
}

TEST_F(DekTableTest, NothingIsSealedBeforeTheDekForItIsDurable) {
  EXPECT_TRUE(deks_->WantsSealing(kStart));
  EXPECT_FALSE(deks_->AcquireToSeal(kStart).has_value());
  ASSERT_TRUE(AddSealing(id_, kStart).ok());
  EXPECT_EQ(deks_->sealing(kStart)->id, id_);
  EXPECT_TRUE(deks_->WantsSealing(kStart)) << "that it is stored";
  EXPECT_FALSE(deks_->AcquireToSeal(kStart).has_value());
  EXPECT_FALSE(deks_->SealUnder(DekId::New({}), kStart).ok());
  ASSERT_TRUE(deks_->SealUnder(id_, kStart).ok());
  EXPECT_TRUE(deks_->SealUnder(id_, kStart).ok()) << "a gateway that was started again says so too";
  EXPECT_FALSE(deks_->WantsSealing(kStart));
  EXPECT_EQ(deks_->AcquireToSeal(kStart)->id, id_);
}

TEST_F(DekTableTest, ALapsedSealingDekIsNeverSealedUnderAgain) {
  ASSERT_TRUE(AddSealing(id_, kStart).ok());
  ASSERT_TRUE(deks_->SealUnder(id_, kStart).ok());
  const MonotonicTime later = kStart + minutes(60);
  EXPECT_FALSE(deks_->AcquireToSeal(later).has_value());
  deks_->Advance(later);
  EXPECT_FALSE(deks_->sealing(later).has_value()) << "a new one is to be made";
  EXPECT_TRUE(deks_->WantsSealing(later));
  ASSERT_TRUE(deks_->Open(id_, kWrapped, SecretOf(9), later, 0).ok());
  EXPECT_TRUE(deks_->Acquire(id_, later).has_value()) << "its keys can be signed with";
  EXPECT_FALSE(deks_->AcquireToSeal(later).has_value());
  EXPECT_FALSE(deks_->SealUnder(id_, later).ok());

  const DekId next = DekId::New({});
  ASSERT_TRUE(AddSealing(next, later).ok());
  ASSERT_TRUE(deks_->SealUnder(next, later).ok());
  EXPECT_EQ(deks_->AcquireToSeal(later)->id, next);
}

TEST_F(DekTableTest, ARenewedSealingDekGoesOnSealing) {
  ASSERT_TRUE(AddSealing(id_, kStart).ok());
  ASSERT_TRUE(deks_->SealUnder(id_, kStart).ok());
  ASSERT_TRUE(deks_->Open(id_, kWrapped, SecretOf(9), kStart + minutes(55), 0).ok());
  deks_->Advance(kStart + minutes(60));
  EXPECT_TRUE(deks_->AcquireToSeal(kStart + minutes(60)).has_value());
}

TEST_F(DekTableTest, ForTheSealingDekKmsIsAskedWithTheEnclavesOwnBytes) {
  ASSERT_TRUE(AddSealing(id_, kStart).ok());
  const MonotonicTime aged = kStart + minutes(55);
  EXPECT_EQ(*deks_->BytesForKms(id_, kOtherWrapped, aged), kWrapped) << "not durable yet";
  ASSERT_TRUE(deks_->SealUnder(id_, kStart).ok());
  EXPECT_EQ(*deks_->BytesForKms(id_, kOtherWrapped, aged), kWrapped);
  EXPECT_EQ(*deks_->BytesForKms(id_, kOtherWrapped, kStart + minutes(60)), kWrapped) << "lapsed";
}

TEST_F(DekTableTest, WhatAnIdWasOpenedFromFirstItIsOpenedFromAlways) {
  ASSERT_TRUE(Open(kStart).ok());
  const MonotonicTime later = kStart + minutes(61);
  deks_->Advance(later);
  EXPECT_EQ(deks_->size(), 0u);
  EXPECT_EQ(deks_->BytesForKms(id_, kOtherWrapped, later).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(deks_->Open(id_, kOtherWrapped, SecretOf(8), later, 0).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(**deks_->BytesForKms(id_, kWrapped, later), kWrapped);
  EXPECT_TRUE(Open(later).ok());
}

TEST_F(DekTableTest, NoDekIsMadeUnderAnIdThatWasOpenedBefore) {
  ASSERT_TRUE(Open(kStart).ok());
  EXPECT_FALSE(AddSealing(id_, kStart).ok());
  deks_->Advance(kStart + minutes(61));
  EXPECT_FALSE(AddSealing(id_, kStart + minutes(61)).ok());
}

TEST(DekTable, TheNextSealingDekIsMadeBeforeTheFirstIsUsedUpAndAUsedUpOneSealsNothing) {
  const std::unique_ptr<DekTable> deks = *DekTable::Create({}, /*seals_max=*/160);
  const DekId first = DekId::New({});
  SealUnderNew(*deks, first, SecretOf(1), kStart);
  for (int i = 0; i < 150; ++i) ASSERT_TRUE(deks->AcquireToSeal(kStart).has_value());
  EXPECT_FALSE(deks->WantsSealing(kStart));
  EXPECT_EQ(deks->sealing(kStart)->id, first);
  ASSERT_TRUE(deks->AcquireToSeal(kStart).has_value());
  EXPECT_TRUE(deks->WantsSealing(kStart));
  EXPECT_FALSE(deks->sealing(kStart).has_value()) << "a new one is to be made";

  const DekId next = DekId::New({});
  ASSERT_TRUE(deks->AddSealing({next, kWrapped, "arn"}, SecretOf(2), kStart, 0).ok());
  for (int i = 0; i < 9; ++i) ASSERT_EQ(deks->AcquireToSeal(kStart)->id, first);
  EXPECT_FALSE(deks->AcquireToSeal(kStart).has_value());
  EXPECT_TRUE(deks->Acquire(first, kStart).has_value()) << "its keys can be signed with";
  ASSERT_TRUE(deks->SealUnder(next, kStart).ok());
  EXPECT_EQ(deks->AcquireToSeal(kStart)->id, next);
}

TEST_F(DekTableTest, ATighterPolicyHoldsForWhatIsOpen) {
  ASSERT_TRUE(Open(kStart).ok());
  std::shared_ptr<const DekValidity> validity = deks_->Validity(id_, kStart);
  deks_->SetPolicy({.dek_ttl_soft = minutes(4), .dek_ttl_hard = minutes(5)});
  EXPECT_EQ(validity->until(), kStart + minutes(5));
  EXPECT_TRUE(Reported(kStart + minutes(4)));
  deks_->Advance(kStart + minutes(5));
  EXPECT_EQ(deks_->size(), 0u);
  deks_->SetPolicy({});
  EXPECT_EQ(validity->until(), kStart + minutes(5)) << "what has lapsed does not come back";
}

TEST_F(DekTableTest, OneDekMoreThanTheLimitIsRefused) {
  for (std::uint32_t i = 0; i < DekTable::kOpenDeksMax; ++i) {
    ASSERT_TRUE(deks_->Open(DekId::New({}), kWrapped, SecretOf(1), kStart, 0).ok());
  }
  EXPECT_EQ(Open(kStart).code(), absl::StatusCode::kResourceExhausted);
  deks_->Advance(kStart + minutes(60));
  EXPECT_TRUE(Open(kStart + minutes(60)).ok());
}

TEST_F(DekTableTest, OneDekMoreThanCanBeKnownApartIsRefusedAndThoseKnownAreNot) {
  MonotonicTime now = kStart;
  ASSERT_TRUE(Open(now).ok());
  for (std::size_t i = 1; i < DekTable::kKnownDeksMax; ++i) {
    if (i % DekTable::kOpenDeksMax == 0) {
      now += minutes(60);
      deks_->Advance(now);
    }
    ASSERT_TRUE(deks_->Open(DekId::New({}), kWrapped, SecretOf(1), now, 0).ok());
  }
  now += minutes(60);
  deks_->Advance(now);
  EXPECT_EQ(deks_->Open(DekId::New({}), kWrapped, SecretOf(1), now, 0).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(AddSealing(DekId::New({}), now).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Open(now).ok());
}

}  // namespace
}  // namespace bulla
