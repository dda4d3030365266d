#pragma once

// BULLA_CHECK(condition, "what it means"): for our own mistakes only, on in release. Never on data
// that a peer controls: that is a Status.

#include <cstdio>
#include <cstdlib>

namespace bulla::internal {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition,
                                     const char* meaning) {
  std::fprintf(stderr, "%s:%d: check failed: %s: %s\n", file, line, condition, meaning);
  std::abort();
}

}  // namespace bulla::internal

#define BULLA_CHECK(condition, meaning) \
  ((condition) ? static_cast<void>(0)   \
               : ::bulla::internal::CheckFailed(__FILE__, __LINE__, #condition, meaning))
