#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "base/mutex.h"

namespace bulla {

// A queue between threads that refuses when it is full, instead of growing. Thread-safe.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t max) : max_(max) {}

  // False, with `item` untouched, when the queue is full or closed.
  bool TryPush(T&& item) BULLA_EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      if (closed_ || items_.size() >= max_) return false;
      items_.push_back(std::move(item));
    }
    not_empty_.NotifyOne();
    return true;
  }

  // Blocks for the oldest item; nothing once the queue is closed and empty.
  std::optional<T> Pop() BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    not_empty_.Wait(
        mutex_, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    return item;
  }

  // What is queued can still be popped; nothing more can be pushed.
  void Close() BULLA_EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      closed_ = true;
    }
    not_empty_.NotifyAll();
  }

  std::size_t size() const BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return items_.size();
  }

 private:
  const std::size_t max_;
  mutable Mutex mutex_;
  CondVar not_empty_;
  std::deque<T> items_ BULLA_GUARDED_BY(mutex_);
  bool closed_ BULLA_GUARDED_BY(mutex_) = false;
};

}  // namespace bulla
