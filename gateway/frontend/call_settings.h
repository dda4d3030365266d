#pragma once

// The hot settings of calls, over HTTP and gRPC alike.

#include <chrono>

#include "base/hot.h"
#include "gateway/frontend/limits.h"
#include "wire/errors.h"

namespace bulla {

// Thread-safe.
struct CallSettings {
  Hot<std::chrono::milliseconds> sign_timeout{limits::kSignTimeout};
  Hot<std::chrono::milliseconds> create_timeout{limits::kCreateTimeout};
  // Between which callers are told to come back.
  Hot<std::chrono::milliseconds> retry_hint_min{std::chrono::milliseconds(RetryHint().min_ms)};
  Hot<std::chrono::milliseconds> retry_hint_max{std::chrono::milliseconds(RetryHint().max_ms)};

  RetryHint retry_hint() const {
    return {.min_ms = static_cast<std::uint32_t>(retry_hint_min.Get().count()),
            .max_ms = static_cast<std::uint32_t>(retry_hint_max.Get().count())};
  }
};
inline const CallSettings kUsualCallSettings;

}  // namespace bulla
