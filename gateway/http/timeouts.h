#pragma once

// How long a caller over HTTP may take; hot. A connection holds since when it waits and for which
// of these, so that a changed one is that of connections which wait already.

#include <chrono>

#include "base/hot.h"
#include "gateway/frontend/limits.h"

namespace bulla {

// Thread-safe.
struct HttpTimeouts {
  Hot<std::chrono::milliseconds> idle{limits::kHttpIdleTimeout};
  Hot<std::chrono::milliseconds> header{limits::kHttpHeaderTimeout};
  Hot<std::chrono::milliseconds> body{limits::kHttpBodyTimeout};
  Hot<std::chrono::milliseconds> write{limits::kHttpWriteTimeout};
};
inline const HttpTimeouts kUsualHttpTimeouts;

}  // namespace bulla
