#pragma once

// Whether the store can write, and what keeps it from writing: as its last attempt found. What
// fails is told by a cause of a closed set, which callers and metrics get, and by a reason in
// words, which names files and is for the operator.

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"

namespace bulla {

enum class StoreFault : std::uint8_t {
  kNone,
  kGone,      // the file at the path is not the one that is open
  kFull,      // no room: the disk, a quota, a limit of file sizes
  kReadOnly,  // file, file system or permissions
  kIo,        // the device fails
  kLocked,    // another process holds the database
  kStalled,   // a write has begun and does not end
  kOther,     // damaged, out of memory: the reason says
};
inline constexpr std::size_t kStoreFaultCount = 8;

// "full": for metrics, logs and the status.
std::string_view StoreFaultName(StoreFault fault);
// A sentence for callers whose key could not be stored. Requires: not kNone.
std::string_view StoreFaultForCallers(StoreFault fault);

// What a write that failed with this errno is for lack of.
StoreFault FaultOfErrno(int error);
// A Status that carries its cause; kOther for a failure that carries none.
absl::Status WithFault(absl::Status status, StoreFault fault);
StoreFault FaultOf(const absl::Status& status);
// The same Status with the path before its message, if that does not begin with it anyway.
absl::Status WithPath(const absl::Status& status, const std::string& path);

struct StoreHealth {
  StoreFault fault = StoreFault::kNone;
  std::string reason;                                      // empty when there is no fault
  WallTime since;                                          // of the fault
  std::array<std::uint64_t, kStoreFaultCount> failures{};  // since the start, by cause

  bool writable() const { return fault == StoreFault::kNone; }
};

// Thread-safe. Changes are logged, what stays as it is is not.
class HealthRecord {
 public:
  // Reasons name `path`.
  HealthRecord(std::string path, const Clock& clock) : path_(std::move(path)), clock_(clock) {}

  // Something was written and is durable.
  void Succeeded() BULLA_EXCLUDES(mutex_);
  void Failed(const absl::Status& status) BULLA_EXCLUDES(mutex_);

  StoreFault fault() const { return fault_.load(std::memory_order_acquire); }
  StoreHealth health() const BULLA_EXCLUDES(mutex_);

 private:
  const std::string path_;
  const Clock& clock_;
  std::atomic<StoreFault> fault_{StoreFault::kNone};  // as in health_, to be read at each create
  mutable Mutex mutex_;
  StoreHealth health_ BULLA_GUARDED_BY(mutex_);
};

}  // namespace bulla
