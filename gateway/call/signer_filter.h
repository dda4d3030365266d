#pragma once

// A link of the chain that every call passes on its way to the router: rights, rate limits,
// admission, audit. One that has no opinion on a kind of call does not mention it.
//
// A filter that wants to see signatures on their way back takes their place as completion sink
// (SignCall::Intercept) before it passes them on, and gives it back (SignCall::Restore) before it
// passes them back.

#include <utility>

#include "gateway/call/signer_service.h"

namespace bulla {

// Thread-safe.
class SignerFilter : public SignerService {
 public:
  // `next` outlives it.
  explicit SignerFilter(SignerService& next) : next_(next) {}

  void Sign(SignCall* first) override { next_.Sign(first); }
  void Create(CreateCall call, KeyDone done) override {
    next_.Create(std::move(call), std::move(done));
  }
  void GetKey(GetKeyCall call, KeyDone done) override { next_.GetKey(call, std::move(done)); }

 protected:
  SignerService& next() { return next_; }

 private:
  SignerService& next_;
};

}  // namespace bulla
