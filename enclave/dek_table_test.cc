#include "enclave/dek_table.h"

#include <gtest/gtest.h>

#include "tests/fakes/small_key_cache.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

const MonotonicTime kStart(std::chrono::hours(1));

Secret<32> SecretOf(std::uint8_t byte) {
  Secret<32> secret;
  secret.Expose()[5] = byte;
  return secret;
}

class DekTableTest : public testing::Test {
 protected:
  absl::Status Open(MonotonicTime at, std::uint64_t random = 0) {
    return deks_->Open(id_, SecretOf(7), at, random);
  }
  bool Reported(MonotonicTime at) { return !deks_->TakeRenewals(at, 64).empty(); }

  const DekId id_ = DekId::New({});
  const std::unique_ptr<DekTable> deks_ = NewDekTable();
};

TEST_F(DekTableTest, AnOpenDekIsLentUntilItsHardTtlAndNotAMomentLonger) {
  EXPECT_FALSE(deks_->Borrow(id_, kStart).has_value());
  ASSERT_TRUE(Open(kStart).ok());
  std::optional<DekLoan> loan = deks_->Borrow(id_, kStart + minutes(60) - milliseconds(1));
  ASSERT_TRUE(loan.has_value());
  EXPECT_EQ(loan->key.Expose()[5], 7);
  EXPECT_FALSE(deks_->Borrow(id_, kStart + minutes(60)).has_value());
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
  EXPECT_EQ(deks_->Open(id_, SecretOf(8), kStart + minutes(1), 0).code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(deks_->Borrow(id_, kStart)->key.Expose()[5], 7);
  EXPECT_FALSE(deks_->Borrow(id_, kStart + minutes(60)).has_value());
}

TEST_F(DekTableTest, PastItsSoftTtlADekIsReportedOnceForEachRenewal) {
  ASSERT_TRUE(Open(kStart).ok());
  EXPECT_FALSE(Reported(kStart + minutes(55) - milliseconds(1)));
  EXPECT_FALSE(deks_->NeedsKms(id_, kStart + minutes(55) - milliseconds(1)));
  EXPECT_TRUE(Reported(kStart + minutes(55)));
  EXPECT_TRUE(deks_->NeedsKms(id_, kStart + minutes(55)));
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
      deks_->Open(other, SecretOf(1), kStart, static_cast<std::uint64_t>(tenth.count())).ok());
  EXPECT_EQ(deks_->TakeRenewals(kStart + minutes(55) - tenth, 64), std::vector<DekId>{other});
}

TEST_F(DekTableTest, NoMoreDeksAreReportedThanAskedForAndTheRestFollow) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(deks_->Open(DekId::New({}), SecretOf(1), kStart, 0).ok());
  }
  EXPECT_EQ(deks_->TakeRenewals(kStart + minutes(55), 3).size(), 3u);
  EXPECT_EQ(deks_->TakeRenewals(kStart + minutes(55), 3).size(), 2u);
}

TEST_F(DekTableTest, ALapsedSealingDekSealsNothingAndIsReportedUntilItIsBack) {
  EXPECT_FALSE(deks_->BorrowToSeal(kStart).has_value());
  ASSERT_TRUE(deks_->OpenSealing({id_, {1}, "arn"}, SecretOf(7), kStart, 0).ok());
  EXPECT_TRUE(deks_->BorrowToSeal(kStart).has_value());
  MonotonicTime later = kStart + minutes(61);
  deks_->Advance(later);
  EXPECT_FALSE(deks_->BorrowToSeal(later).has_value());
  EXPECT_TRUE(deks_->sealing().has_value()) << "its wrapped form is still needed";
  EXPECT_EQ(deks_->TakeRenewals(later, 64), std::vector<DekId>{id_});
  ASSERT_TRUE(Open(later).ok());
  EXPECT_TRUE(deks_->BorrowToSeal(later).has_value());
  EXPECT_FALSE(Reported(later));
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
    ASSERT_TRUE(deks_->Open(DekId::New({}), SecretOf(1), kStart, 0).ok());
  }
  EXPECT_EQ(Open(kStart).code(), absl::StatusCode::kResourceExhausted);
  deks_->Advance(kStart + minutes(60));
  EXPECT_TRUE(Open(kStart + minutes(60)).ok());
}

}  // namespace
}  // namespace bulla
