#pragma once

// When the signatures asked of one enclave leave for it. What costs is not the bytes but the
// crossing: a frame is a system call, a wake-up and a hand-off on both sides, whatever is in it. So
// under load what arrives is gathered, until a frame is full or the first in it has waited as long
// as it may. An enclave that is idle gets what there is at once, and whoever asks for one signature
// at a time never waits.
//
// An enclave that has a frame's worth of work already gains nothing from more: then what gathers
// may wait kBusyWaits times as long, until some of that is answered. So when there is more to do
// than CPU time to do it with, frames grow, and a signature costs less: under overload too, when
// calls are let in one by one as others are answered.
//
// "Under load" is that several arrive while one frame is away: a frame of kLoadedFrom begins it,
// one of a single signature ends it.
//
// Pure: owns no thread, lock or clock. Not thread-safe.

#include <cstddef>

#include "base/clock.h"
#include "gateway/call/call_list.h"
#include "gateway/call/signer_service.h"
#include "wire/codec.h"

namespace bulla {

class SignBatcher {
 public:
  struct Options {
    std::size_t size_max = kFrameSignsMax;  // of a frame; 1: every signature travels alone
    std::chrono::microseconds wait_max{500};
  };
  static constexpr std::size_t kLoadedFrom = 3;
  static constexpr int kBusyWaits = 20;

  explicit SignBatcher(Options options) : options_(options) {}

  // From now on.
  void SetOptions(Options options) { options_ = options; }

  void Add(SignCall* call, MonotonicTime now);

  // A list to send now as one frame, of at most size_max; null when there is nothing or it can
  // wait. What is returned counts as with the enclave. To be called until it returns null.
  SignCall* Take(MonotonicTime now);

  // `count` signatures went to the enclave by another way.
  void Sent(std::size_t count) { in_flight_ += count; }
  // `count` of those with the enclave are answered or given up.
  void Answered(std::size_t count);

  // Of those that wait, the ones whose deadline is over, to be given up.
  struct Expired {
    SignCall* first = nullptr;
    std::size_t count = 0;
  };
  Expired TakeExpired(MonotonicTime now);
  // Everything that waits, to be given up.
  SignCall* TakeAll();

  bool waiting() const { return size_ > 0; }
  // What waits and what is with the enclave.
  std::size_t outstanding() const { return size_ + in_flight_; }
  // When the first that waits may wait no longer, as things are. Requires: something waits.
  MonotonicTime due_at() const {
    const bool busy = in_flight_ >= options_.size_max;
    return gathered_.first()->gathered_at + (busy ? kBusyWaits : 1) * options_.wait_max;
  }

 private:
  bool Due(MonotonicTime now) const;
  void Keep(SignCall* call);

  Options options_;
  CallList gathered_;
  std::size_t size_ = 0;
  std::size_t in_flight_ = 0;
  std::size_t hurried_ = 0;  // of those gathered, may not wait
  bool loaded_ = false;
};

}  // namespace bulla
