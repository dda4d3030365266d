#pragma once

// A key store in memory that answers at once. Failures are scripted.

#include <map>
#include <utility>

#include "base/mutex.h"
#include "store/key_store.h"

namespace bulla {

// Thread-safe.
class FakeKeyStore : public KeyStore {
 private:
  // Runs `body` with the lock; callbacks run without it.
  template <typename Body>
  auto Locked(Body body) const {
    MutexLock lock(mutex_);
    return body();
  }

 public:
  // What every call answers from now on; OK: it does its work.
  void FailWith(absl::Status status) {
    MutexLock lock(mutex_);
    failure_ = std::move(status);
  }
  // As somebody else does it, in the database.
  void SetEnabled(const KeyId& key_id, bool enabled) {
    MutexLock lock(mutex_);
    keys_.at(key_id).enabled = enabled;
    ChangedLocked(key_id, enabled);
  }
  void Remove(const KeyId& key_id) {
    MutexLock lock(mutex_);
    keys_.erase(key_id);
    ChangedLocked(key_id, false);
  }
  // What health says from now on; calls are answered as before.
  void SetFault(StoreFault fault) {
    MutexLock lock(mutex_);
    fault_ = fault;
  }
  std::size_t dek_count() const {
    MutexLock lock(mutex_);
    return deks_.size();
  }

  void PutDek(DekRow row, std::function<void(absl::Status)> done) override {
    done(Locked([&]() -> absl::Status {
      if (!failure_.ok()) return failure_;
      if (row.wrapped.empty() || row.wrapped.size() > kWrappedBytesMax) {
        return absl::InvalidArgumentError("the wrapped DEK's size");
      }
      deks_.emplace(row.dek_id, row);
      return absl::OkStatus();
    }));
  }
  void PutKey(KeyRow row, std::optional<Idempotency> idempotency,
              std::function<void(absl::StatusOr<KeyRow>)> done) override {
    done(Locked([&]() -> absl::StatusOr<KeyRow> {
      if (!failure_.ok()) return failure_;
      if (row.blob.empty() || row.blob.size() > kBlobBytesMax ||
          (idempotency && !IsWithinLimits(*idempotency))) {
        return absl::InvalidArgumentError("over a limit");
      }
      if (!deks_.contains(row.dek_id)) return absl::FailedPreconditionError("no such DEK");
      if (idempotency) {
        absl::StatusOr<std::optional<KeyRow>> standing = StandingLocked(*idempotency);
        if (!standing.ok()) return standing.status();
        if (standing->has_value()) return **standing;
        asked_[{idempotency->scope, idempotency->key}] = {idempotency->fingerprint, row.key_id};
      }
      if (!keys_.emplace(row.key_id, row).second) return absl::InternalError("the id is taken");
      if (!row.enabled) ChangedLocked(row.key_id, false);
      return row;
    }));
  }
  void FindKey(const KeyId& key_id,
               std::function<void(absl::StatusOr<std::optional<KeyRow>>)> done) override {
    done(Locked([&]() -> absl::StatusOr<std::optional<KeyRow>> {
      if (!failure_.ok()) return failure_;
      auto it = keys_.find(key_id);
      return it == keys_.end() ? std::nullopt : std::optional<KeyRow>(it->second);
    }));
  }
  void FindKeyByIdempotency(
      const Idempotency& idempotency,
      std::function<void(absl::StatusOr<std::optional<KeyRow>>)> done) override {
    done(Locked([&]() -> absl::StatusOr<std::optional<KeyRow>> {
      if (!failure_.ok()) return failure_;
      return StandingLocked(idempotency);
    }));
  }
  void FindDek(const DekId& dek_id,
               std::function<void(absl::StatusOr<std::optional<DekRow>>)> done) override {
    done(Locked([&]() -> absl::StatusOr<std::optional<DekRow>> {
      if (!failure_.ok()) return failure_;
      auto it = deks_.find(dek_id);
      return it == deks_.end() ? std::nullopt : std::optional<DekRow>(it->second);
    }));
  }
  void ListDeksInUse(std::size_t limit,
                     std::function<void(absl::StatusOr<std::vector<DekRow>>)> done) override {
    done(Locked([&]() -> absl::StatusOr<std::vector<DekRow>> {
      if (!failure_.ok()) return failure_;
      std::vector<DekRow> rows;
      for (auto dek = deks_.rbegin(); dek != deks_.rend(); ++dek) {  // the newest id first
        bool used = false;
        for (const auto& [key_id, key] : keys_) used |= key.dek_id == dek->first;
        if (used && rows.size() < limit) rows.push_back(dek->second);
      }
      return rows;
    }));
  }
  void ListKeys(std::optional<KeyId> after, std::size_t limit,
                std::function<void(absl::StatusOr<std::vector<KeyRow>>)> done) override {
    done(Locked([&]() -> absl::StatusOr<std::vector<KeyRow>> {
      std::vector<KeyRow> rows;
      for (const auto& [id, row] : keys_) {
        if ((after && !(*after < id)) || rows.size() == limit) continue;
        rows.push_back(row);
        rows.back().blob.clear();
      }
      return rows;
    }));
  }
  void ListKeyChanges(std::int64_t after, std::size_t limit,
                      std::function<void(absl::StatusOr<std::vector<KeyChange>>)> done) override {
    done(Locked([&]() -> absl::StatusOr<std::vector<KeyChange>> {
      if (!failure_.ok()) return failure_;
      std::vector<KeyChange> changes;
      for (const KeyChange& change : changes_) {
        if (change.sequence > after && changes.size() < limit) changes.push_back(change);
      }
      return changes;
    }));
  }
  void CountKeys(std::function<void(absl::StatusOr<std::int64_t>)> done) override {
    done(Locked(
        [&]() -> absl::StatusOr<std::int64_t> { return static_cast<std::int64_t>(keys_.size()); }));
  }
  StoreIdentity identity() const override { return identity_; }
  StoreFault fault() const override {
    MutexLock lock(mutex_);
    return fault_;
  }
  std::size_t key_count() const {
    MutexLock lock(mutex_);
    return keys_.size();
  }
  StoreHealth health() const override { return {.fault = fault(), .reason = "", .since = {}}; }
  void Close() override { FailWith(absl::UnavailableError("the store is closed")); }

 private:
  // The limits of a real one.
  static constexpr std::size_t kWrappedBytesMax = 6144;
  static constexpr std::size_t kBlobBytesMax = 1024;
  static constexpr std::size_t kTextMax = 1024;

  static bool IsWithinLimits(const Idempotency& idempotency) {
    return !idempotency.key.empty() && idempotency.key.size() <= kTextMax &&
           !idempotency.fingerprint.empty() && idempotency.fingerprint.size() <= kTextMax;
  }
  void ChangedLocked(const KeyId& key_id, bool enabled) {
    std::erase_if(changes_, [&](const KeyChange& change) { return change.key_id == key_id; });
    changes_.push_back({++last_change_, key_id, enabled});
  }

  absl::StatusOr<std::optional<KeyRow>> StandingLocked(const Idempotency& idempotency) const {
    auto it = asked_.find({idempotency.scope, idempotency.key});
    if (it == asked_.end()) return std::optional<KeyRow>();
    if (it->second.first != idempotency.fingerprint) return absl::AlreadyExistsError("another");
    return std::optional<KeyRow>(keys_.at(it->second.second));
  }

  const StoreIdentity identity_{StoreId::New({}), {}};
  mutable Mutex mutex_;
  absl::Status failure_;
  StoreFault fault_ = StoreFault::kNone;
  // By scope and key: fingerprint, and what was made.
  std::map<std::pair<std::string, std::string>, std::pair<std::string, KeyId>> asked_;
  std::map<DekId, DekRow> deks_;
  std::map<KeyId, KeyRow> keys_;
  std::vector<KeyChange> changes_;
  std::int64_t last_change_ = 0;
};

}  // namespace bulla
