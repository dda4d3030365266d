#pragma once

// Counts what operator new gives, per thread. To be included in one file of a program: it replaces
// the operator for all of it. Memory that C code takes by malloc does not show.

#include <cstdint>
#include <cstdlib>
#include <new>

namespace bulla {

// Of the calling thread, since it began.
inline thread_local std::uint64_t allocations_of_thread = 0;

// A sanitizer has operators of its own, which must not be replaced: nothing is counted then.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kCountsAllocations = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kCountsAllocations = false;
#else
#define BULLA_REPLACE_OPERATOR_NEW
inline constexpr bool kCountsAllocations = true;
#endif
#else
#define BULLA_REPLACE_OPERATOR_NEW
inline constexpr bool kCountsAllocations = true;
#endif

}  // namespace bulla

#ifdef BULLA_REPLACE_OPERATOR_NEW
// NOLINTBEGIN(misc-definitions-in-headers): for one file of a program
void* operator new(std::size_t size) {
  ++bulla::allocations_of_thread;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  ++bulla::allocations_of_thread;
  const auto align = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(align, (size + align - 1) / align * align)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
// NOLINTEND(misc-definitions-in-headers)
#endif
