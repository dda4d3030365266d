#include "base/build_info.h"

#include <fmt/format.h>

#include "base/metrics.h"

namespace bulla {

std::string VersionText(std::string_view program, const BuildInfo& build) {
  return fmt::format("{} {}\ncommit: {}\ncompiler: {}\nsigning engine: {}", program, build.version,
                     build.commit, build.compiler, build.engine);
}

void AddBuildInfo(const BuildInfo& build, Metrics& metrics) {
  metrics
      .AddGauge("bulla_build_info", "What this process was built from; always 1",
                {{"version", std::string(build.version)},
                 {"commit", std::string(build.commit)},
                 {"compiler", std::string(build.compiler)}})
      .Set(1);
}

}  // namespace bulla
