#include "gateway/link/sign_batcher.h"

#include <algorithm>

namespace bulla {

void SignBatcher::Add(SignCall* call, MonotonicTime now) {
  call->gathered_at = now;
  Keep(call);
}

void SignBatcher::Keep(SignCall* call) {
  gathered_.Append(call);
  ++size_;
  if (call->no_wait) ++hurried_;
}

bool SignBatcher::Due(MonotonicTime now) const {
  if (size_ == 0) return false;
  const bool idle = in_flight_ == 0 && !loaded_;
  return idle || size_ >= options_.size_max || hurried_ > 0 || now >= due_at();
}

SignCall* SignBatcher::Take(MonotonicTime now) {
  if (!Due(now)) return nullptr;
  CallList frame;
  const std::size_t size = std::min(size_, options_.size_max);
  loaded_ = size > 1 && (loaded_ || size >= kLoadedFrom);
  for (std::size_t taken = 0; taken < size; ++taken) {
    SignCall* call = gathered_.PopFront();
    if (call->no_wait) --hurried_;
    frame.Append(call);
    --size_;
    ++in_flight_;
  }
  return frame.first();
}

void SignBatcher::Answered(std::size_t count) { in_flight_ -= std::min(count, in_flight_); }

SignBatcher::Expired SignBatcher::TakeExpired(MonotonicTime now) {
  CallList expired;
  std::size_t count = 0;
  SignCall* first = TakeAll();
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    if (now >= call->deadline) {
      expired.Append(call);
      ++count;
    } else {
      Keep(call);
    }
  }
  return {expired.first(), count};
}

SignCall* SignBatcher::TakeAll() {
  SignCall* all = gathered_.first();
  gathered_ = {};
  size_ = 0;
  hurried_ = 0;
  return all;
}

}  // namespace bulla
