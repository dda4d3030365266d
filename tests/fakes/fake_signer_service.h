#pragma once

// A SignerService without enclaves: it knows the keys it was given, answers with outcomes set by
// the test, and can hold calls back until the test lets them go.

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "gateway/call/signer_service.h"

namespace bulla {

// Thread-safe.
class FakeSignerService final : public SignerService {
 public:
  // The signature this service makes: not a real one, but one that names key and digest.
  static RecoverableSignature SignatureOf(const KeyId& key_id, const Digest32& digest) {
    RecoverableSignature signature;
    std::copy(digest.begin(), digest.end(), signature.rs.begin());
    std::copy(key_id.bytes.begin(), key_id.bytes.end(), signature.rs.begin() + 32);
    signature.rs[63] = 1;
    signature.recovery_id = digest[0] & 1;
    return signature;
  }

  static KeyRow MakeKey(std::uint8_t number) {
    KeyRow row;
    row.key_id.bytes.fill(number);
    row.public_key.fill(number);
    row.public_key[0] = 2;
    row.address = "0x9858EfFD232B4033E47d90003D41EC34EcaEda94";
    row.created_at =
        WallTime(std::chrono::milliseconds(1767323045678));  // 2026-01-02T03:04:05.678Z
    return row;
  }

  // A key that signs.
  KeyId AddKey(std::uint8_t number) {
    KeyRow row = MakeKey(number);
    MutexLock lock(mutex_);
    keys_[row.key_id] = row;
    return row.key_id;
  }
  // From now on every signature under `key_id` ends so.
  void SetOutcome(const KeyId& key_id, ErrorCode outcome) {
    MutexLock lock(mutex_);
    outcomes_[key_id] = outcome;
  }
  // From now on every create and look-up ends so.
  void SetKeyOutcome(Error outcome) {
    MutexLock lock(mutex_);
    key_outcome_ = std::move(outcome);
  }

  // From now on calls are kept until Release().
  void Hold() {
    MutexLock lock(mutex_);
    holding_ = true;
  }
  // Completes what is held, on this thread, and holds no more.
  void Release() {
    SignCall* calls = nullptr;
    std::vector<std::function<void()>> dones;
    {
      MutexLock lock(mutex_);
      holding_ = false;
      held_count_ = 0;
      calls = std::exchange(held_, nullptr);
      dones.swap(held_dones_);
    }
    Finish(calls);
    for (const auto& done : dones) done();
  }
  // Blocks until at least `n` calls are held; false after `patience` without.
  bool WaitUntilHeld(std::size_t n, std::chrono::milliseconds patience = std::chrono::seconds(10)) {
    MutexLock lock(mutex_);
    return held_changed_.WaitFor(mutex_, patience,
                                 [&]() BULLA_REQUIRES(mutex_) { return held_count_ >= n; });
  }

  std::optional<CreateCall> last_create() {
    MutexLock lock(mutex_);
    return last_create_;
  }
  // Of the last create.
  std::string last_request_id() {
    MutexLock lock(mutex_);
    return last_request_id_;
  }
  // Of the last signature asked for.
  MonotonicTime last_deadline() {
    MutexLock lock(mutex_);
    return last_deadline_;
  }

  void Sign(SignCall* first) override {
    {
      MutexLock lock(mutex_);
      last_deadline_ = first->deadline;
      if (holding_) {
        SignCall* last = first;
        ++held_count_;
        for (; last->next != nullptr; last = last->next) ++held_count_;
        last->next = held_;
        held_ = first;
        held_changed_.NotifyAll();
        return;
      }
    }
    Finish(first);
  }

  void Create(CreateCall call, KeyDone done) override {
    KeyRow row;
    Error error;
    {
      MutexLock lock(mutex_);
      row = MakeKey(static_cast<std::uint8_t>(100 + created_));
      auto known = asked_.find(call.idempotency_key);
      if (known != asked_.end()) row = keys_[known->second];
      error = key_outcome_;
      if (error.ok() && known == asked_.end()) {
        ++created_;
        keys_[row.key_id] = row;
        if (!call.idempotency_key.empty()) asked_[call.idempotency_key] = row.key_id;
      }
      if (call.context != nullptr) last_request_id_ = call.context->request_id;
      last_create_ = std::move(call);
    }
    FinishKey([done = std::move(done), error, row] { done(error, row); });
  }

  void GetKey(GetKeyCall call, KeyDone done) override {
    KeyRow row;
    Error error;
    {
      MutexLock lock(mutex_);
      error = key_outcome_;
      auto found = keys_.find(call.key_id);
      if (found != keys_.end()) {
        row = found->second;
      } else if (error.ok()) {
        error.code = ErrorCode::kInvalidKey;
      }
    }
    FinishKey([done = std::move(done), error, row] { done(error, row); });
  }

 private:
  void FinishKey(std::function<void()> done) {
    {
      MutexLock lock(mutex_);
      if (holding_) {
        held_dones_.push_back(std::move(done));
        ++held_count_;
        held_changed_.NotifyAll();
        return;
      }
    }
    done();
  }

  // Fills in the outcomes and completes each sink's calls, all at once.
  void Finish(SignCall* first) {
    std::map<CompletionSink*, SignCall*> by_sink;
    {
      MutexLock lock(mutex_);
      for (SignCall* call = first; call != nullptr;) {
        SignCall* next = call->next;
        auto outcome = outcomes_.find(call->key_id);
        call->error = outcome != outcomes_.end()     ? outcome->second
                      : keys_.contains(call->key_id) ? ErrorCode::kOk
                                                     : ErrorCode::kInvalidKey;
        call->signature = SignatureOf(call->key_id, call->digest);
        call->next = by_sink[call->sink];
        by_sink[call->sink] = call;
        call = next;
      }
    }
    for (auto [sink, calls] : by_sink) sink->Complete(calls);
  }

  Mutex mutex_;
  CondVar held_changed_;
  std::map<KeyId, KeyRow> keys_ BULLA_GUARDED_BY(mutex_);
  std::map<std::string, KeyId> asked_;  // by idempotency key
  std::map<KeyId, ErrorCode> outcomes_ BULLA_GUARDED_BY(mutex_);
  Error key_outcome_ BULLA_GUARDED_BY(mutex_);
  bool holding_ BULLA_GUARDED_BY(mutex_) = false;
  SignCall* held_ BULLA_GUARDED_BY(mutex_) = nullptr;
  std::vector<std::function<void()>> held_dones_ BULLA_GUARDED_BY(mutex_);
  std::size_t held_count_ BULLA_GUARDED_BY(mutex_) = 0;
  int created_ BULLA_GUARDED_BY(mutex_) = 0;
  std::optional<CreateCall> last_create_ BULLA_GUARDED_BY(mutex_);
  std::string last_request_id_ BULLA_GUARDED_BY(mutex_);
  MonotonicTime last_deadline_ BULLA_GUARDED_BY(mutex_);
};

}  // namespace bulla
