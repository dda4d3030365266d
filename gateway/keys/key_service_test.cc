#include "gateway/keys/key_service.h"

#include <atomic>
#include <future>
#include <gtest/gtest.h>
#include <string>
#include <utility>

#include "gateway/call/store_errors.h"
#include "tests/fakes/data_plane_test.h"

namespace bulla {
namespace {

class KeyServiceTest : public DataPlaneTest {
 protected:
  std::pair<Error, KeyRow> GetKey(const KeyId& key_id) {
    std::promise<std::pair<Error, KeyRow>> found;
    keys_->GetKey({.key_id = key_id}, [&](Error error, const KeyRow& row) {
      found.set_value({error, row});
    });
    return found.get_future().get();
  }
  // Every stream breaks that a key is asked to be made on; the first `count` of them.
  void BreakOnCreates(int enclave, int count) {
    enclaves_[enclave]->SetScript(
        [this, enclave, count](const RequestBatch& requests, ReplyBatch& replies) {
          for (const CreateItem& item : requests.creates) {
            if (++creates_asked_ <= count) return false;
            const DekId dek_id = enclaves_[enclave]->sealing_dek();
            replies.creates.push_back({.sequence = item.sequence,
                                       .status = ItemStatus::kOk,
                                       .dek_id = dek_id,
                                       .blob = FakeBlob(item.key_id, dek_id),
                                       .address = std::string(42, '0')});
          }
          return true;
        });
  }

  std::atomic<int> creates_asked_{0};
};

// ---- Keys made -------------------------------------------------------------------------------

TEST_F(KeyServiceTest, ACreatedKeySigns) {
  StartAll(1);
  auto [error, row] = Create();
  ASSERT_TRUE(error.ok()) << error.Message();
  EXPECT_EQ(Sign(row.key_id), ErrorCode::kOk);
  EXPECT_EQ(enclaves_[0]->blobs_loaded(), 0) << "the enclave that made it has it";
}

TEST_F(KeyServiceTest, WhatIsAcknowledgedIsInTheStoreAsItWasAnswered) {
  StartAll(1);
  const KeyRow made = Create().second;
  EXPECT_EQ(store_.key_count(), 1u);
  const auto [error, found] = GetKey(made.key_id);
  ASSERT_TRUE(error.ok()) << error.Message();
  EXPECT_EQ(found.key_id, made.key_id);
  EXPECT_EQ(found.dek_id, enclaves_[0]->sealing_dek());
  EXPECT_EQ(found.blob, FakeBlob(made.key_id, found.dek_id));
  EXPECT_EQ(found.public_key, made.public_key);
  EXPECT_EQ(found.address, made.address);
}

TEST_F(KeyServiceTest, NoKeyIsMadeWhileNoneCanBeStored) {
  StartAll(1);
  KeyId standing = Create("order 1").second.key_id;
  for (StoreFault fault : {StoreFault::kFull, StoreFault::kReadOnly, StoreFault::kGone}) {
    store_.SetFault(fault);
    const int frames = enclaves_[0]->frames();
    Error error = Create().first;
    EXPECT_EQ(error.code, ErrorCode::kUnavailable);
    EXPECT_EQ(error.Message(), StoreFaultForCallers(fault));
    EXPECT_GE(RetryAfterMs(error, {}, 0), 1000u) << "it is not over in 75 ms";
    EXPECT_EQ(enclaves_[0]->frames(), frames) << "no enclave's work for nothing";
    EXPECT_EQ(Create("order 1").second.key_id, standing) << "what is there is there";
  }
  EXPECT_EQ(Sign(standing), ErrorCode::kOk);
  store_.SetFault(StoreFault::kNone);
  EXPECT_TRUE(Create().first.ok());
}

TEST_F(KeyServiceTest, AKeyThatCannotBeStoredIsNotAcknowledged) {
  StartAll(1);
  store_.FailWith(absl::ResourceExhaustedError("the write queue is full"));
  EXPECT_EQ(Create().first.code, ErrorCode::kRetryLater);
  store_.FailWith(absl::UnavailableError("disk full"));
  EXPECT_EQ(Create().first.code, ErrorCode::kUnavailable);
}

TEST_F(KeyServiceTest, AKeyThatIsLostWithItsStreamIsMadeOnceMore) {
  StartAll(1);
  BreakOnCreates(0, 1);
  const auto [error, row] = Create();
  EXPECT_TRUE(error.ok()) << error.Message();
  EXPECT_EQ(creates_asked_, 2);
  EXPECT_EQ(store_.key_count(), 1u);
}

TEST_F(KeyServiceTest, ButNotTwiceMore) {
  StartAll(1);
  BreakOnCreates(0, 3);
  EXPECT_EQ(Create().first.code, ErrorCode::kUnavailable);
  EXPECT_EQ(creates_asked_, 2);
  EXPECT_EQ(store_.key_count(), 0u);
}

TEST_F(KeyServiceTest, NorWhenTheRetryBudgetIsSpent) {
  StartAll(1);
  BreakOnCreates(0, 1);
  // It fills up by itself, ten a second: so until a create found it empty.
  for (ErrorCode code = ErrorCode::kOk; code != ErrorCode::kUnavailable;) {
    creates_asked_ = 0;
    while (plane_->retry_budget().TryWithdraw()) continue;
    code = Create().first.code;
  }
  EXPECT_EQ(creates_asked_, 1);
}

TEST_F(KeyServiceTest, ASilentEnclaveCostsACreateItsDeadlineAndNoMore) {
  StartAll(1);
  enclaves_[0]->SetScript([](const RequestBatch&, ReplyBatch&) { return true; });
  const MonotonicTime before = clock_.Now();
  EXPECT_EQ(Create("", std::chrono::milliseconds(20)).first.code, ErrorCode::kUnavailable);
  const Duration took = clock_.Now() - before;
  EXPECT_GE(took, std::chrono::milliseconds(20));
  EXPECT_LT(took, std::chrono::seconds(5)) << "the next thing that ends it takes longer";
}

// ---- Made once for a name --------------------------------------------------------------------

TEST_F(KeyServiceTest, ARepeatedCreateReturnsTheSameKey) {
  StartAll(1);
  KeyId first = Create("order-7").second.key_id;
  EXPECT_EQ(Create("order-7").second.key_id, first);
  EXPECT_NE(Create("order-8").second.key_id, first);
}

TEST_F(KeyServiceTest, AnIdempotencyKeyOfAnotherRequestIsRefusedAndMakesNothing) {
  StartAll(1);
  DekRow dek{.dek_id = DekId::New({}), .wrapped = {1}};
  store_.PutDek(dek, [](absl::Status) {});
  store_.PutKey({.key_id = KeyId::New({}), .dek_id = dek.dek_id, .blob = {1}},
                Idempotency{.scope = "", .key = "order-1", .fingerprint = "create/0"},
                [](const absl::StatusOr<KeyRow>& row) { EXPECT_TRUE(row.ok()); });
  const std::size_t keys = store_.key_count();
  Error error = Create("order-1").first;
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(error.Message()).find("'order-1'"), std::string::npos) << error.Message();
  EXPECT_EQ(store_.key_count(), keys);
}

TEST_F(KeyServiceTest, TwoThatRaceForOneNameGetTheKeyThatStands) {
  StartAll(1);
  std::promise<KeyId> made[2];
  for (auto& each : made) {
    keys_->Create(
        {.idempotency_key = "order-9", .deadline = clock_.Now() + std::chrono::seconds(30)},
        [&each](const Error& error, const KeyRow& row) {
          EXPECT_TRUE(error.ok()) << error.Message();
          each.set_value(row.key_id);
        });
  }
  EXPECT_EQ(made[0].get_future().get(), made[1].get_future().get());
  EXPECT_EQ(store_.key_count(), 1u);
}

TEST_F(KeyServiceTest, WhileTheStoreCannotBeAskedForANameNothingIsMade) {
  StartAll(1);
  const int frames = enclaves_[0]->frames();
  store_.FailWith(absl::UnavailableError("/b.db: input/output error"));
  const Error error = Create("order-10").first;
  EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  EXPECT_EQ(std::string(error.Message()).find("b.db"), std::string::npos) << error.Message();
  EXPECT_EQ(enclaves_[0]->frames(), frames);
}

// ---- Looked up -------------------------------------------------------------------------------

TEST_F(KeyServiceTest, AKeyThatNobodyMadeIsNotFound) {
  StartPlane(0);
  EXPECT_EQ(GetKey(KeyId::New({})).first.code, ErrorCode::kInvalidKey);
}

TEST_F(KeyServiceTest, ADisabledKeyIsFoundAndSaysSo) {
  StartAll(1);
  const KeyId key_id = Create().second.key_id;
  EXPECT_TRUE(GetKey(key_id).second.enabled);
  store_.SetEnabled(key_id, false);
  const auto [error, row] = GetKey(key_id);
  EXPECT_TRUE(error.ok()) << error.Message();
  EXPECT_FALSE(row.enabled);
}

TEST_F(KeyServiceTest, AKeyIsFoundWithoutAnyEnclave) {
  StartAll(1);
  const KeyId key_id = Create().second.key_id;
  enclaves_.clear();
  WaitUntil([&] { return plane_->fleet().available() == 0; });
  EXPECT_TRUE(GetKey(key_id).first.ok());
}

TEST_F(KeyServiceTest, AStoreThatDoesNotAnswerIsNoMissingKey) {
  StartAll(1);
  const KeyId key_id = Create().second.key_id;
  store_.FailWith(absl::ResourceExhaustedError("the read queue is full"));
  EXPECT_EQ(GetKey(key_id).first.code, ErrorCode::kRetryLater);
  store_.FailWith(absl::UnavailableError("/b.db: input/output error"));
  const Error error = GetKey(key_id).first;
  EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  EXPECT_EQ(std::string(error.Message()).find("b.db"), std::string::npos) << error.Message();
}

}  // namespace
}  // namespace bulla
