#pragma once

// For tests with a key store, whichever it is: rows, and its asynchronous calls as values.

#include <future>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "store/key_store.h"

namespace bulla {

// An asynchronous call as a value: Await<Result>([&](auto done) { store.CountKeys(done); }).
template <typename Result, typename Call>
Result Await(Call call) {
  std::promise<Result> promise;
  call([&](Result result) { promise.set_value(std::move(result)); });
  return promise.get_future().get();
}

inline absl::Status PutDek(KeyStore& store, const DekRow& row) {
  return Await<absl::Status>([&](auto done) { store.PutDek(row, done); });
}
inline absl::StatusOr<KeyRow> PutKey(KeyStore& store, const KeyRow& row,
                                     std::optional<Idempotency> idempotency = std::nullopt) {
  return Await<absl::StatusOr<KeyRow>>([&](auto done) { store.PutKey(row, idempotency, done); });
}
inline absl::StatusOr<std::optional<KeyRow>> FindKeyByIdempotency(KeyStore& store,
                                                                  const Idempotency& idempotency) {
  return Await<absl::StatusOr<std::optional<KeyRow>>>(
      [&](auto done) { store.FindKeyByIdempotency(idempotency, done); });
}
inline absl::StatusOr<std::optional<KeyRow>> FindKey(KeyStore& store, const KeyId& key_id) {
  return Await<absl::StatusOr<std::optional<KeyRow>>>(
      [&](auto done) { store.FindKey(key_id, done); });
}
inline absl::StatusOr<std::optional<DekRow>> FindDek(KeyStore& store, const DekId& dek_id) {
  return Await<absl::StatusOr<std::optional<DekRow>>>(
      [&](auto done) { store.FindDek(dek_id, done); });
}
inline std::vector<DekRow> ListDeksInUse(KeyStore& store, std::size_t limit) {
  return Await<absl::StatusOr<std::vector<DekRow>>>(
             [&](auto done) { store.ListDeksInUse(limit, done); })
      .value();
}
inline std::vector<KeyRow> ListKeys(KeyStore& store, std::optional<KeyId> after,
                                    std::size_t limit) {
  return Await<absl::StatusOr<std::vector<KeyRow>>>(
             [&](auto done) { store.ListKeys(after, limit, done); })
      .value();
}
inline std::vector<KeyChange> ListKeyChanges(KeyStore& store, std::int64_t after,
                                             std::size_t limit = 100) {
  return Await<absl::StatusOr<std::vector<KeyChange>>>(
             [&](auto done) { store.ListKeyChanges(after, limit, done); })
      .value();
}
inline std::int64_t CountKeys(KeyStore& store) {
  return Await<absl::StatusOr<std::int64_t>>([&](auto done) { store.CountKeys(done); }).value();
}

inline WallTime At(int seconds) { return WallTime(std::chrono::seconds(1'700'000'000 + seconds)); }

inline DekRow NewDek(int seconds = 0) {
  return {DekId::New(At(seconds)), Bytes(200, 0xd0), "arn:aws:kms:eu-north-1:1:key/k", At(seconds)};
}

inline Idempotency Order(std::string key, std::string fingerprint = "create/1") {
  return {.scope = "", .key = std::move(key), .fingerprint = std::move(fingerprint)};
}

inline KeyRow NewKey(const DekRow& dek) {
  KeyRow row;
  row.key_id = KeyId::New(At(0));
  row.dek_id = dek.dek_id;
  row.blob = Bytes(129);
  FillRandom(row.blob);
  FillRandom(row.public_key);
  row.address = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";
  row.created_at = At(0) + std::chrono::milliseconds(7);
  return row;
}

inline void ExpectSame(const KeyRow& a, const KeyRow& b) {
  EXPECT_EQ(a.key_id.ToString(), b.key_id.ToString());
  EXPECT_EQ(a.dek_id, b.dek_id);
  EXPECT_EQ(a.blob, b.blob);
  EXPECT_EQ(a.public_key, b.public_key);
  EXPECT_EQ(a.address, b.address);
  EXPECT_EQ(a.created_at, b.created_at);
  EXPECT_EQ(a.enabled, b.enabled);
}

}  // namespace bulla
