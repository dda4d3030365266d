#pragma once

// A queue between threads that refuses when it is full, instead of growing.

#include <algorithm>
#include <cstddef>
#include <deque>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"

namespace bulla {

// Thread-safe.
template <typename T>
class BoundedQueue {
 public:
  // `name` says what waits in it, in messages: "unlocks".
  BoundedQueue(std::string name, std::size_t max) : name_(std::move(name)), max_(max) {}

  // RESOURCE_EXHAUSTED when full, UNAVAILABLE after Close(); `item` is untouched then.
  absl::Status Push(T&& item) BULLA_EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      if (closed_) return absl::UnavailableError(fmt::format("{}: closed", name_));
      if (items_.size() >= max_) {
        return absl::ResourceExhaustedError(fmt::format("{}: full, {} are waiting", name_, max_));
      }
      items_.push_back(std::move(item));
    }
    not_empty_.NotifyOne();
    return absl::OkStatus();
  }

  // Blocks for the oldest item; nothing once the queue is closed and empty.
  std::optional<T> Pop() BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    WaitForItems();
    return items_.empty() ? std::nullopt : std::optional<T>(Take());
  }

  // Blocks for an item and takes the oldest ones, at most `count_max`; none once the queue is
  // closed and empty.
  std::vector<T> PopUpTo(std::size_t count_max) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    WaitForItems();
    std::vector<T> taken;
    taken.reserve(std::min(count_max, items_.size()));
    while (taken.size() < count_max && !items_.empty()) taken.push_back(Take());
    return taken;
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
  void WaitForItems() BULLA_REQUIRES(mutex_) {
    not_empty_.Wait(
        mutex_, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return closed_ || !items_.empty(); });
  }

  T Take() BULLA_REQUIRES(mutex_) {
    T item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

  const std::string name_;
  const std::size_t max_;
  mutable Mutex mutex_;
  CondVar not_empty_;
  std::deque<T> items_ BULLA_GUARDED_BY(mutex_);
  bool closed_ BULLA_GUARDED_BY(mutex_) = false;
};

}  // namespace bulla
