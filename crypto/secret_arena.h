#pragma once

// Where plain keys live while they are WARM. The heap is no place for them: it is swapped, dumped,
// inherited by children, and neighbour to every buffer that a peer can fill. This is one mapping of
// its own, with a guard page before and after it, never in a core dump (MADV_DONTDUMP), all zeros
// in a child (MADV_WIPEONFORK) and locked in memory. It is cut into slots of one size, named by
// 32-bit numbers, and holds no pointers or bookkeeping: those are elsewhere, so that what writes
// beyond a secret finds nothing to take over.
//
// The whole budget is locked at the start, but "on fault" (mlock2(2), MLOCK_ONFAULT): what counts
// against RLIMIT_MEMLOCK is known before the first key comes, and a page takes memory when its
// first slot is used. Slots that were never used are handed out last and in order, so an enclave
// with few keys has few pages.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/status.h"

namespace bulla {

// How much memory for secrets there is, and how much of it is locked.
struct LockedMemory {
  std::size_t wanted_bytes = 0;
  std::size_t locked_bytes = 0;

  // FAILED_PRECONDITION when some is not locked; says which limit it met and how to raise that: for
  // people at start-up who have never heard of it.
  absl::Status Check() const;

  friend LockedMemory operator+(const LockedMemory& a, const LockedMemory& b) {
    return {a.wanted_bytes + b.wanted_bytes, a.locked_bytes + b.locked_bytes};
  }
};

// Allocate(), Free() and taken() are guarded by the owner. Expose() reads only what never changes,
// so it needs no guard; the bytes of a slot belong to whoever holds the slot. A child, after fork,
// finds zeros in all of them.
class SecretArena {
 public:
  struct Options {
    std::size_t slot_bytes = 32;
    // For the slots' bytes. What does not divide into slots is left over; the bookkeeping, four
    // bytes a slot, is beside it.
    std::size_t budget_bytes = 0;
  };

  // Errors: slots of no bytes or more than 2^32 - 2 of them; the kernel refuses memory or one of
  // the protections. Memory that it does not lock is none: see locked_memory().
  static absl::StatusOr<std::unique_ptr<SecretArena>> Create(const Options& options);

  SecretArena(const SecretArena&) = delete;
  SecretArena& operator=(const SecretArena&) = delete;
  ~SecretArena();  // wipes what is still taken

  // A slot of zeros; nothing when the budget is spent.
  std::optional<std::uint32_t> Allocate();
  // Wipes the slot at once. Requires: it is taken.
  void Free(std::uint32_t slot);

  // The one door, as in crypto/secret.h. A slot that is not taken reads as zeros.
  MutableByteSpan Expose(std::uint32_t slot);
  ByteSpan Expose(std::uint32_t slot) const;

  std::uint32_t slots() const { return slots_; }
  std::uint32_t taken() const { return taken_; }

  LockedMemory locked_memory() const { return {memory_bytes_, locked_bytes_}; }

 private:
  SecretArena(std::uint8_t* mapping, std::size_t page_bytes, std::size_t memory_bytes,
              std::size_t slot_bytes, std::uint32_t slots,
              std::unique_ptr<std::uint32_t[]> next_free);

  // In place of the next free slot's number.
  static constexpr std::uint32_t kNone = 0xffff'ffff;
  static constexpr std::uint32_t kTaken = 0xffff'fffe;

  std::size_t OffsetOf(std::uint32_t slot) const;

  std::uint8_t* const mapping_;  // guard page, memory, guard page
  std::uint8_t* const memory_;   // whole pages
  const std::size_t page_bytes_;
  const std::size_t memory_bytes_;
  const std::size_t slot_bytes_;
  const std::uint32_t slots_;
  std::size_t locked_bytes_ = 0;

  std::uint32_t taken_ = 0;
  std::uint32_t ever_used_ = 0;  // slots from here on have not been touched
  std::uint32_t first_free_ = kNone;
  // For each slot that was ever used: the next free one, or kTaken. Not a vector: that would have
  // to copy it, under the owner's lock, to let it grow.
  const std::unique_ptr<std::uint32_t[]> next_free_;
};

}  // namespace bulla
