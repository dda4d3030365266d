#pragma once

// What the kernel says about another process of this machine.

#include <cstdint>
#include <sys/types.h>

#include "base/clock.h"
#include "base/status.h"

namespace bulla {

// CPU time of all its threads since it began, in nanoseconds as the scheduler accounts for it.
// NOT_FOUND when there is no such process.
absl::StatusOr<Duration> CpuTimeOf(pid_t pid);

// Its resident memory in bytes. NOT_FOUND when there is no such process.
absl::StatusOr<std::uint64_t> ResidentBytesOf(pid_t pid);

}  // namespace bulla
