#include "crypto/secret_arena.h"

#include <bit>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <new>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>

#include "base/check.h"
#include "crypto/secret.h"

namespace bulla {
namespace {

absl::Status SystemError(const char* call, std::size_t bytes) {
  return absl::ResourceExhaustedError(
      fmt::format("memory for secrets: {} of {} bytes: {}", call, bytes, ::strerrordesc_np(errno)));
}

// Locks as much of the memory as the limit allows, from its beginning, where the first slots are.
// Returns how many bytes that is; errno is that of the last refusal.
std::size_t LockWhatIsAllowed(std::uint8_t* memory, std::size_t bytes, std::size_t page_bytes) {
  std::size_t locked = 0;
  if (bytes == 0 || ::mlock2(memory, bytes, MLOCK_ONFAULT) == 0) return bytes;
  for (std::size_t pages = std::bit_floor(bytes / page_bytes); pages > 0; pages /= 2) {
    const std::size_t step = pages * page_bytes;
    if (step > bytes - locked) continue;
    if (::mlock2(memory + locked, step, MLOCK_ONFAULT) == 0) locked += step;
  }
  return locked;
}

}  // namespace

absl::Status LockedMemory::Check() const {
  if (locked_bytes == wanted_bytes) return absl::OkStatus();
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  const std::string limit_text =
      limit.rlim_cur == RLIM_INFINITY ? "unlimited" : fmt::format("{} bytes", limit.rlim_cur);
  return absl::FailedPreconditionError(fmt::format(
      "memory for secrets: {} of {} bytes are locked, the rest may be swapped out; RLIMIT_MEMLOCK "
      "is {}. Raise it by at least {} bytes: LimitMEMLOCK=infinity in the systemd unit, --ulimit "
      "memlock=-1 for a container, `ulimit -l unlimited` (as root) in the shell that starts it; or "
      "give the process CAP_IPC_LOCK",
      locked_bytes, wanted_bytes, limit_text, wanted_bytes - locked_bytes));
}

absl::StatusOr<std::unique_ptr<SecretArena>> SecretArena::Create(const Options& options) {
  if (options.slot_bytes == 0) {
    return absl::InvalidArgumentError("memory for secrets: a slot must have bytes");
  }
  const std::size_t slots = options.budget_bytes / options.slot_bytes;
  if (slots > kTaken) {
    return absl::InvalidArgumentError(
        fmt::format("memory for secrets: {} bytes are {} slots, at most {} can be numbered",
                    options.budget_bytes, slots, kTaken));
  }
  const std::size_t page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  // Whole pages. A sum that runs over is more than any machine maps, and is refused as that.
  const std::size_t used_bytes = slots * options.slot_bytes;
  const std::size_t memory_bytes = (used_bytes + page_bytes - 1) / page_bytes * page_bytes;
  const std::size_t mapping_bytes = memory_bytes + 2 * page_bytes;
  if (mapping_bytes < used_bytes) {
    errno = ENOMEM;
    return SystemError("mmap", used_bytes);
  }

  // Uninitialised: address space, until it is used.
  std::unique_ptr<std::uint32_t[]> next_free(new (std::nothrow) std::uint32_t[slots]);
  if (next_free == nullptr) {
    errno = ENOMEM;
    return SystemError("malloc", slots * sizeof(std::uint32_t));
  }
  void* mapping =
      ::mmap(nullptr, mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, /*fd=*/-1, 0);
  if (mapping == MAP_FAILED) return SystemError("mmap", mapping_bytes);
  std::unique_ptr<SecretArena> arena(
      new SecretArena(static_cast<std::uint8_t*>(mapping), page_bytes, memory_bytes,
                      options.slot_bytes, static_cast<std::uint32_t>(slots), std::move(next_free)));
  if (memory_bytes == 0) return arena;

  std::uint8_t* memory = arena->memory_;
  if (::madvise(memory, memory_bytes, MADV_DONTDUMP) != 0) {
    return SystemError("madvise(MADV_DONTDUMP)", memory_bytes);
  }
  if (::madvise(memory, memory_bytes, MADV_WIPEONFORK) != 0) {
    return SystemError("madvise(MADV_WIPEONFORK)", memory_bytes);
  }
  if (::mprotect(memory, memory_bytes, PROT_READ | PROT_WRITE) != 0) {
    return SystemError("mprotect", memory_bytes);
  }
  arena->locked_bytes_ = LockWhatIsAllowed(memory, memory_bytes, page_bytes);
  return arena;
}

SecretArena::SecretArena(std::uint8_t* mapping, std::size_t page_bytes, std::size_t memory_bytes,
                         std::size_t slot_bytes, std::uint32_t slots,
                         std::unique_ptr<std::uint32_t[]> next_free)
    : mapping_(mapping),
      memory_(mapping + page_bytes),
      page_bytes_(page_bytes),
      memory_bytes_(memory_bytes),
      slot_bytes_(slot_bytes),
      slots_(slots),
      next_free_(std::move(next_free)) {}

SecretArena::~SecretArena() {
  // The kernel zeroes a page before it gives it to somebody else, but nobody knows when.
  for (std::uint32_t slot = 0; slot < ever_used_; ++slot) {
    if (next_free_[slot] == kTaken) Wipe(Expose(slot));
  }
  ::munmap(mapping_, memory_bytes_ + 2 * page_bytes_);
}

std::optional<std::uint32_t> SecretArena::Allocate() {
  std::uint32_t slot = first_free_;
  if (slot != kNone) {
    first_free_ = next_free_[slot];
  } else {
    if (ever_used_ == slots_) return std::nullopt;
    slot = ever_used_++;
  }
  next_free_[slot] = kTaken;
  ++taken_;
  return slot;
}

void SecretArena::Free(std::uint32_t slot) {
  BULLA_CHECK(slot < ever_used_ && next_free_[slot] == kTaken, "the slot is not taken");
  Wipe(Expose(slot));
  next_free_[slot] = first_free_;
  first_free_ = slot;
  --taken_;
}

MutableByteSpan SecretArena::Expose(std::uint32_t slot) {
  return {memory_ + OffsetOf(slot), slot_bytes_};
}

ByteSpan SecretArena::Expose(std::uint32_t slot) const {
  return {memory_ + OffsetOf(slot), slot_bytes_};
}

std::size_t SecretArena::OffsetOf(std::uint32_t slot) const {
  BULLA_CHECK(slot < slots_, "there is no such slot");
  return slot_bytes_ * slot;
}

}  // namespace bulla
