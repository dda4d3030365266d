#include "gateway/sign_batcher.h"

#include <algorithm>

namespace bulla {

void SignBatcher::Add(SignCall* call, MonotonicTime now) {
  call->gathered_at = now;
  gathered_.Append(call);
  ++size_;
  if (call->no_wait) ++hurried_;
}

bool SignBatcher::Due(MonotonicTime now) const {
  if (size_ == 0) return false;
  return in_flight_ < options_.idle_below || size_ >= options_.size_max || hurried_ > 0 ||
         now - gathered_.first()->gathered_at >= options_.wait_max;
}

SignCall* SignBatcher::Take(MonotonicTime now) {
  if (!Due(now)) return nullptr;
  CallList frame;
  for (std::size_t taken = std::min(size_, options_.size_max); taken > 0; --taken) {
    SignCall* call = gathered_.PopFront();
    if (call->no_wait) --hurried_;
    frame.Append(call);
    --size_;
    ++in_flight_;
  }
  return frame.first();
}

void SignBatcher::Answered(std::size_t count) { in_flight_ -= std::min(count, in_flight_); }

SignCall* SignBatcher::TakeAll() {
  SignCall* all = gathered_.first();
  gathered_ = {};
  size_ = 0;
  hurried_ = 0;
  return all;
}

}  // namespace bulla
