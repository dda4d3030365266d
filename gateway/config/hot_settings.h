#pragma once

// The settings that are read at each use, so that a change of the file takes effect without a
// restart (ADR 23). main owns the live ones; each part holds a reference to its own, and none a
// copy. A changed file's are taken over by assignment, so none can be forgotten.

#include <chrono>

#include "base/hot.h"
#include "gateway/access/admission.h"
#include "gateway/frontend/call_settings.h"
#include "gateway/http/timeouts.h"
#include "gateway/routing/data_plane_settings.h"

namespace bulla {

// Thread-safe.
struct HotSettings {
  CallSettings calls;
  HttpTimeouts http;
  Admission::Settings admission;
  DataPlaneSettings data_plane;
  Hot<std::chrono::milliseconds> drain_timeout{std::chrono::seconds(10)};
};

}  // namespace bulla
