#pragma once

// A bounded queue between many callers and the store's own threads. Full means refused at once;
// closed means that what is in it is still handed out and nothing more is taken.

#include <algorithm>
#include <cstddef>
#include <deque>
#include <fmt/format.h>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"

namespace bulla {

// Thread-safe.
template <typename T>
class WorkQueue {
 public:
  // `name` is for messages.
  WorkQueue(std::string name, std::size_t items_max)
      : name_(std::move(name)), items_max_(items_max) {}

  // RESOURCE_EXHAUSTED when full, UNAVAILABLE after Close; `item` is then as it was.
  absl::Status Push(T&& item) BULLA_EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      if (closed_) return absl::UnavailableError(fmt::format("{}: closed", name_));
      if (items_.size() >= items_max_) {
        return absl::ResourceExhaustedError(
            fmt::format("{}: full, {} are waiting", name_, items_max_));
      }
      items_.push_back(std::move(item));
    }
    not_empty_.NotifyOne();
    return absl::OkStatus();
  }

  // Waits for work and takes the oldest, at most `count_max`. Empty: closed, and all is done.
  std::vector<T> TakeBlocking(std::size_t count_max) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    not_empty_.Wait(mutex_, [this] { return ReadyLocked(); });
    std::size_t count = std::min(count_max, items_.size());
    std::vector<T> taken;
    taken.reserve(count);
    for (; count > 0; --count) {
      taken.push_back(std::move(items_.front()));
      items_.pop_front();
    }
    return taken;
  }

  void Close() BULLA_EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      closed_ = true;
    }
    not_empty_.NotifyAll();
  }

 private:
  // Called by Wait with the mutex held, which the analysis cannot see through a lambda.
  bool ReadyLocked() const BULLA_NO_THREAD_SAFETY_ANALYSIS { return closed_ || !items_.empty(); }

  const std::string name_;
  const std::size_t items_max_;
  Mutex mutex_;
  CondVar not_empty_;
  std::deque<T> items_ BULLA_GUARDED_BY(mutex_);
  bool closed_ BULLA_GUARDED_BY(mutex_) = false;
};

}  // namespace bulla
