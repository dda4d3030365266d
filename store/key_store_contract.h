#pragma once

// What every key store has to do, whatever keeps the rows: one suite, run by each of them (and by
// the fake that other rooms' tests rest on). A store's test includes this and says how it is made:
// INSTANTIATE_TEST_SUITE_P(Sqlite, KeyStoreContract, testing::Values(&MakeIt)).

#include <atomic>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "store/testing.h"

namespace bulla {

// A store, and what others do to it behind its back.
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;
  virtual KeyStore& store() = 0;
  // Closes the store and opens the same one again; what was durable is there.
  virtual void Reopen() = 0;
  virtual void SetEnabled(const KeyId& key_id, bool enabled) = 0;
  virtual void Remove(const KeyId& key_id) = 0;
};

class KeyStoreContract : public testing::TestWithParam<std::unique_ptr<StoreUnderTest> (*)()> {
 protected:
  KeyStore& store() { return under_test_->store(); }
  void Reopen() { under_test_->Reopen(); }
  void SetEnabled(const KeyId& key_id, bool enabled) { under_test_->SetEnabled(key_id, enabled); }
  void Remove(const KeyId& key_id) { under_test_->Remove(key_id); }

 private:
  const std::unique_ptr<StoreUnderTest> under_test_ = GetParam()();
};

TEST_P(KeyStoreContract, WhatWasAcknowledgedIsThereAfterReopening) {
  DekRow dek = NewDek();
  KeyRow with = NewKey(dek);
  KeyRow without = NewKey(dek);
  without.enabled = false;
  ASSERT_EQ(PutDek(store(), dek), absl::OkStatus());
  ExpectSame(PutKey(store(), with, Order("order 66")).value(), with);
  ExpectSame(PutKey(store(), without).value(), without);
  Reopen();
  ExpectSame(FindKey(store(), with.key_id).value().value(), with);
  ExpectSame(FindKey(store(), without.key_id).value().value(), without);
  ExpectSame(FindKeyByIdempotency(store(), Order("order 66")).value().value(), with);
  DekRow found = FindDek(store(), dek.dek_id).value().value();
  EXPECT_EQ(found.wrapped, dek.wrapped);
  EXPECT_EQ(found.kms_key_id, dek.kms_key_id);
  EXPECT_EQ(found.created_at, dek.created_at);
}

TEST_P(KeyStoreContract, WhatIsNotThereIsNoError) {
  EXPECT_EQ(FindKey(store(), KeyId::New(At(0))).value(), std::nullopt);
  EXPECT_FALSE(FindDek(store(), DekId::New(At(0))).value().has_value());
  EXPECT_EQ(CountKeys(store()), 0);
  EXPECT_TRUE(ListKeys(store(), std::nullopt, 10).empty());
}

TEST_P(KeyStoreContract, RepeatingADekChangesNothing) {
  DekRow dek = NewDek();
  DekRow changed = dek;
  changed.wrapped = Bytes(7);
  EXPECT_EQ(PutDek(store(), dek), absl::OkStatus());
  EXPECT_EQ(PutDek(store(), changed), absl::OkStatus());
  EXPECT_EQ(FindDek(store(), dek.dek_id).value()->wrapped, dek.wrapped);
}

TEST_P(KeyStoreContract, AKeyWithoutItsDekIsRefused) {
  KeyRow orphan = NewKey(NewDek());
  EXPECT_EQ(PutKey(store(), orphan).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(FindKey(store(), orphan.key_id).value().has_value());
}

TEST_P(KeyStoreContract, AKeyIdIsTakenOnce) {
  DekRow dek = NewDek();
  KeyRow first = NewKey(dek);
  KeyRow second = NewKey(dek);
  second.key_id = first.key_id;
  ASSERT_EQ(PutDek(store(), dek), absl::OkStatus());
  ASSERT_TRUE(PutKey(store(), first).ok());
  EXPECT_EQ(PutKey(store(), second).status().code(), absl::StatusCode::kInternal);
  ExpectSame(FindKey(store(), first.key_id).value().value(), first);
}

TEST_P(KeyStoreContract, ConcurrentCallersWithOneIdempotencyKeyGetOneRow) {
  DekRow dek = NewDek();
  ASSERT_EQ(PutDek(store(), dek), absl::OkStatus());
  constexpr int kThreads = 8;
  constexpr int kOrders = 50;
  std::vector<std::vector<KeyId>> got(kThreads);
  std::vector<std::thread> threads;
  for (auto& ids : got) {
    threads.emplace_back([&] {
      for (int order = 0; order < kOrders; ++order) {
        ids.push_back(PutKey(store(), NewKey(dek), Order(std::to_string(order))).value().key_id);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& ids : got) EXPECT_EQ(ids, got[0]);
  EXPECT_EQ(CountKeys(store()), kOrders);
}

TEST_P(KeyStoreContract, CloseFinishesWhatWasTakenAndRefusesTheRest) {
  DekRow dek = NewDek();
  ASSERT_EQ(PutDek(store(), dek), absl::OkStatus());
  std::atomic<int> written = 0;
  for (int i = 0; i < 20; ++i) {
    store().PutKey(NewKey(dek), std::nullopt, [&](const auto& row) { written += row.ok(); });
  }
  store().Close();
  EXPECT_EQ(written, 20);
  store().Close();
  EXPECT_EQ(PutKey(store(), NewKey(dek)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(FindKey(store(), KeyId()).status().code(), absl::StatusCode::kUnavailable);
}

TEST_P(KeyStoreContract, RowsOverTheLimitsAreRefused) {
  DekRow dek = NewDek();
  for (std::size_t size : {0u, 6145u}) {
    dek.wrapped = Bytes(size);
    EXPECT_EQ(PutDek(store(), dek).code(), absl::StatusCode::kInvalidArgument) << size;
  }
  for (std::size_t size : {1u, 6144u}) {
    dek.wrapped = Bytes(size);
    EXPECT_EQ(PutDek(store(), dek), absl::OkStatus()) << size;
  }
  for (std::size_t size : {0u, 1025u}) {
    KeyRow key = NewKey(dek);
    key.blob = Bytes(size);
    EXPECT_EQ(PutKey(store(), key).status().code(), absl::StatusCode::kInvalidArgument) << size;
  }
  for (const Idempotency& wrong : {Order(""), Order(std::string(1025, 'x')), Order("x", ""),
                                   Order("x", std::string(1025, 'x'))}) {
    EXPECT_EQ(PutKey(store(), NewKey(dek), wrong).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_P(KeyStoreContract, DeksInUseComeNewestFirst) {
  std::vector<DekRow> deks;
  for (int i = 0; i < 5; ++i) {
    deks.push_back(NewDek(i));
    ASSERT_EQ(PutDek(store(), deks.back()), absl::OkStatus());
    if (i == 3) continue;  // the fourth has no key
    ASSERT_TRUE(PutKey(store(), NewKey(deks.back())).ok());
  }
  std::vector<DekRow> newest = ListDeksInUse(store(), 3);
  ASSERT_EQ(newest.size(), 3u);
  EXPECT_EQ(newest[0].dek_id, deks[4].dek_id);
  EXPECT_EQ(newest[1].dek_id, deks[2].dek_id);
  EXPECT_EQ(newest[2].dek_id, deks[1].dek_id);
  EXPECT_EQ(ListDeksInUse(store(), 100).size(), 4u);
}

TEST_P(KeyStoreContract, PagesOfKeysShowEachKeyOnceInOrderWithoutItsBlob) {
  DekRow dek = NewDek();
  ASSERT_EQ(PutDek(store(), dek), absl::OkStatus());
  std::set<KeyId> put;
  for (int i = 0; i < 25; ++i) put.insert(PutKey(store(), NewKey(dek)).value().key_id);
  std::vector<KeyId> listed;
  std::optional<KeyId> after;
  while (true) {
    std::vector<KeyRow> page = ListKeys(store(), after, 10);
    if (page.empty()) break;
    EXPECT_LE(page.size(), 10u);
    for (const KeyRow& row : page) {
      EXPECT_TRUE(row.blob.empty());
      EXPECT_EQ(row.dek_id, dek.dek_id);
      listed.push_back(row.key_id);
    }
    after = listed.back();
  }
  EXPECT_EQ(listed, std::vector<KeyId>(put.begin(), put.end()));
}

TEST_P(KeyStoreContract, WhoeverDisablesEnablesOrRemovesAKeyItIsTold) {
  DekRow dek = NewDek();
  ASSERT_TRUE(PutDek(store(), dek).ok());
  std::vector<KeyId> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(NewKey(dek).key_id);
    KeyRow row = NewKey(dek);
    row.key_id = ids.back();
    ASSERT_TRUE(PutKey(store(), row).ok());
  }
  EXPECT_TRUE(ListKeyChanges(store(), 0).empty()) << "a new key is no change";

  SetEnabled(ids[1], false);
  SetEnabled(ids[0], false);
  EXPECT_EQ(ListKeyChanges(store(), 0),
            (std::vector<KeyChange>{{1, ids[1], false}, {2, ids[0], false}}));
  EXPECT_EQ(ListKeyChanges(store(), 1), (std::vector<KeyChange>{{2, ids[0], false}}));
  EXPECT_EQ(ListKeyChanges(store(), 0, 1), (std::vector<KeyChange>{{1, ids[1], false}}));

  SetEnabled(ids[1], true);
  EXPECT_EQ(ListKeyChanges(store(), 2), (std::vector<KeyChange>{{3, ids[1], true}}));
  EXPECT_EQ(ListKeyChanges(store(), 0).size(), 2u) << "a key is told once";

  Remove(ids[2]);
  EXPECT_EQ(ListKeyChanges(store(), 3), (std::vector<KeyChange>{{4, ids[2], false}}));
}

TEST_P(KeyStoreContract, ARepeatWithAnotherRequestIsRefusedAndMakesNothing) {
  const DekRow dek = NewDek();
  ASSERT_TRUE(PutDek(store(), dek).ok());
  const auto put = [&](const Idempotency& idempotency) {
    return PutKey(store(), NewKey(dek), idempotency).value().key_id;
  };
  KeyId made = put(Order("order 1", "create/1"));
  EXPECT_EQ(PutKey(store(), NewKey(dek), Order("order 1", "create/2")).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(FindKeyByIdempotency(store(), Order("order 1", "create/2")).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(CountKeys(store()), 1);
  EXPECT_EQ(put(Order("order 1", "create/1")), made) << "the first request's is still its own";
}

TEST_P(KeyStoreContract, EachScopeHasNamesOfItsOwn) {
  const DekRow dek = NewDek();
  ASSERT_TRUE(PutDek(store(), dek).ok());
  const auto put = [&](const Idempotency& idempotency) {
    return PutKey(store(), NewKey(dek), idempotency).value().key_id;
  };
  Idempotency of_another = Order("order 1");
  of_another.scope = "another";
  EXPECT_NE(put(Order("order 1")), put(of_another));
}

}  // namespace bulla
