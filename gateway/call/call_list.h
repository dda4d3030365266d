#pragma once

// Lists of calls linked through SignCall::next, and how they are completed.

#include <cstddef>

#include "gateway/call/signer_service.h"

namespace bulla {

// A list under construction; appending keeps order. Confined to its owner.
class CallList {
 public:
  void Append(SignCall* call) {
    call->next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = call;
    last_ = call;
  }
  void AppendAll(const CallList& other) {
    if (other.empty()) return;
    (first_ == nullptr ? first_ : last_->next) = other.first_;
    last_ = other.last_;
  }
  // Requires: it is not empty.
  SignCall* PopFront() {
    SignCall* call = first_;
    first_ = call->next;
    call->next = nullptr;
    return call;
  }
  SignCall* first() const { return first_; }
  bool empty() const { return first_ == nullptr; }

 private:
  SignCall* first_ = nullptr;
  SignCall* last_ = nullptr;  // of one that is not empty
};

// Takes the first call off a list.
inline SignCall* PopFirst(SignCall*& first) {
  SignCall* call = first;
  first = call->next;
  call->next = nullptr;
  return call;
}

std::size_t CountCalls(const SignCall* first);

// Passes finished calls to their sinks, one Complete() for each sink. After it, none of them may be
// touched.
void CompleteAll(SignCall* first);

// Answers every call of the list with `error`.
void FailAll(SignCall* first, ErrorCode error);

}  // namespace bulla
