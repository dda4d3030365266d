#pragma once

// A link of the chain that every call passes on its way to the router: rights, rate limits,
// admission, audit. One that has no opinion on a kind of call does not mention it.
//
// A filter that wants to see signatures on their way back takes their place as completion sink
// (SignCall::Intercept) before it passes them on, and gives it back (SignCall::Restore) before it
// passes them back.

#include <memory>
#include <utility>
#include <vector>

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

// The chain, built from its end. Thread-safe once it is built.
class SignerChain {
 public:
  // `last` is what all filters stand in front of; it outlives the chain.
  explicit SignerChain(SignerService& last) : front_(&last) {}

  // Puts a filter in front of those that are there: Filter(SignerService& next, arguments...).
  template <typename Filter, typename... Arguments>
  void Add(Arguments&&... arguments) {
    filters_.push_back(std::make_unique<Filter>(*front_, std::forward<Arguments>(arguments)...));
    front_ = filters_.back().get();
  }
  SignerService& front() { return *front_; }

 private:
  std::vector<std::unique_ptr<SignerFilter>> filters_;
  SignerService* front_;
};

}  // namespace bulla
