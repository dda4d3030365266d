#pragma once

// std::mutex with the annotations that clang's -Wthread-safety reads. (absl::Mutex from Debian's
// package makes ThreadSanitizer report races that are not there.)

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define BULLA_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define BULLA_THREAD_ANNOTATION(x)
#endif
#define BULLA_CAPABILITY(x) BULLA_THREAD_ANNOTATION(capability(x))
#define BULLA_SCOPED_CAPABILITY BULLA_THREAD_ANNOTATION(scoped_lockable)
#define BULLA_GUARDED_BY(x) BULLA_THREAD_ANNOTATION(guarded_by(x))
#define BULLA_REQUIRES(...) BULLA_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define BULLA_EXCLUDES(...) BULLA_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define BULLA_ACQUIRE(...) BULLA_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define BULLA_RELEASE(...) BULLA_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define BULLA_NO_THREAD_SAFETY_ANALYSIS BULLA_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace bulla {

class BULLA_CAPABILITY("mutex") Mutex {
 public:
  void Lock() BULLA_ACQUIRE() { mutex_.lock(); }
  void Unlock() BULLA_RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class BULLA_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) BULLA_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() BULLA_RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

class CondVar {
 public:
  // Waits until `condition`, which is evaluated with the mutex held, is true.
  template <typename Condition>
  void Wait(Mutex& mutex, Condition condition)
      BULLA_REQUIRES(mutex) BULLA_NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock, condition);
    lock.release();
  }
  // The same, for at most `timeout`. Returns what `condition` says at the end.
  template <typename Condition>
  bool WaitFor(Mutex& mutex, std::chrono::nanoseconds timeout, Condition condition)
      BULLA_REQUIRES(mutex) BULLA_NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    bool met = condition_.wait_for(lock, timeout, condition);
    lock.release();
    return met;
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace bulla
