#pragma once

// What the API front ends (gateway/http, gateway/grpc) ask for, in value types: the seam between
// the public protocols and the routing behind them. gateway/keys/key_service implements it, behind
// the filters of gateway/call/signer_filter; tests of the front ends use a fake.

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/values.h"
#include "gateway/call/call_context.h"
#include "store/key_store.h"
#include "wire/errors.h"

namespace bulla {

class SignCall;

// Where finished calls go back to. Implemented by each front end.
class CompletionSink {
 public:
  virtual ~CompletionSink() = default;
  // Takes a list of finished calls, linked through SignCall::next. Called on a thread of the
  // router's choosing, at most once per call; must not block. The calls belong to the callee again.
  virtual void Complete(SignCall* first) = 0;
};

// One signature asked for. The front end owns it and keeps it alive and unmoved from Sign() until
// it is delivered; in between it belongs to the router.
class SignCall {
 public:
  // In.
  KeyId key_id;
  Digest32 digest{};
  MonotonicTime deadline;
  bool no_wait = false;                  // never held back to be sent together with others
  CompletionSink* sink = nullptr;        // whom it goes to next when it is finished
  const CallContext* context = nullptr;  // of the request that it is part of
  // Out.
  ErrorCode error = ErrorCode::kOk;
  RecoverableSignature signature;  // when error is kOk
  // A link for whoever holds the call.
  SignCall* next = nullptr;
  // The router's own: how often the key's blob was sent for the call, and how often the call was
  // sent behind one that others had sent; which enclaves it was taken back from, to be retried
  // elsewhere, and how many of them; since when it is on its way.
  static constexpr std::uint8_t kRetriesMax = 2;
  std::uint8_t blob_loads = 0;
  std::uint8_t blob_follows = 0;
  std::uint8_t retries = 0;
  std::array<std::uint32_t, kRetriesMax> avoid{};
  MonotonicTime gathered_at;
  // Admission's: since when it is let in.
  MonotonicTime admitted_at;

  // From now on it goes to `by` first when it is finished.
  void Intercept(CompletionSink& by) {
    BULLA_CHECK(intercepted_ < kInterceptsMax, "a chain is not longer than that");
    outer_[intercepted_++] = std::exchange(sink, &by);
  }
  // Undoes the last Intercept().
  void Restore() { sink = outer_[--intercepted_]; }

 protected:
  ~SignCall() = default;  // deleted as what it is, by the front end

 private:
  static constexpr std::uint8_t kInterceptsMax = 4;  // filters that look at what comes back
  std::uint8_t intercepted_ = 0;
  std::array<CompletionSink*, kInterceptsMax> outer_{};
};

struct CreateCall {
  std::string idempotency_key;  // empty: none
  MonotonicTime deadline;
  const CallContext* context = nullptr;  // outlives the call's `done`
};

struct GetKeyCall {
  KeyId key_id;
  const CallContext* context = nullptr;  // outlives the call's `done`
};

// Thread-safe.
class SignerService {
 public:
  virtual ~SignerService() = default;

  // Every call of the list (linked through next, in no order) is completed to its sink exactly
  // once, by its deadline and a tick; possibly before this returns.
  virtual void Sign(SignCall* first) = 0;

  // `done` is called exactly once, on any thread, by the deadline and a tick; it must not block.
  using KeyDone = std::function<void(Error, const KeyRow&)>;
  // Makes a key; the row that `done` gets is durable. With a known idempotency key: the row it
  // made.
  virtual void Create(CreateCall call, KeyDone done) = 0;
  // The row of a key; kInvalidKey when there is none.
  virtual void GetKey(GetKeyCall call, KeyDone done) = 0;
};

}  // namespace bulla
