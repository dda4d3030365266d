#pragma once

// What keeps the memory of a process that holds keys to itself: from disks, from debuggers and from
// swap.

#include <cstddef>

#include "base/status.h"

namespace bulla {

// No core dumps, and no ptrace or /proc/<pid>/mem by others of the same user. First thing in the
// main of a process that holds keys.
absl::Status HardenProcess();

// Locks what the calling thread will use of its stack, where copies of plain keys lie for the time
// of a signature. For threads other than the first. False when the kernel refuses.
inline constexpr std::size_t kLockedStackBytes =
    256 * 1024;  // a batch takes 165 KiB: stack_wipe_test
[[nodiscard]] bool LockThreadStack();

}  // namespace bulla
