#pragma once

// What of a changed configuration takes effect at once.

#include <string>
#include <vector>

#include "gateway/config/gateway_config.h"
#include "gateway/routing/data_plane.h"

namespace bulla {

// Confined to the ticking thread.
class ConfigApplier {
 public:
  // `running`: what the gateway was started with. `data_plane` outlives it.
  ConfigApplier(const GatewayConfig& running, DataPlane& data_plane)
      : platform_(running.platform), enclaves_(running.enclaves), data_plane_(data_plane) {}

  // The enclaves only when the file says other ones than before, so that what was changed by hand
  // meanwhile outlives a change of something else.
  void Apply(const GatewayConfig& config);

 private:
  const std::string platform_;
  std::vector<std::string> enclaves_;  // as the file last had them
  DataPlane& data_plane_;
};

}  // namespace bulla
