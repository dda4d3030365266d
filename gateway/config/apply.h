#pragma once

// What of a changed configuration takes effect at once: what is read at use, by taking its values
// over, and what is handed on: log level, key policy and enclaves.

#include <string>
#include <vector>

#include "gateway/config/gateway_config.h"
#include "gateway/routing/data_plane.h"

namespace bulla {

// Confined to the ticking thread.
class ConfigApplier {
 public:
  // `running`: what the gateway was started with. `live` and `data_plane` outlive it.
  ConfigApplier(const GatewayConfig& running, HotSettings& live, DataPlane& data_plane)
      : platform_(running.platform),
        enclaves_(running.enclaves),
        live_(live),
        data_plane_(data_plane) {}

  // The enclaves only when the file says other ones than before, so that what was changed by hand
  // meanwhile outlives a change of something else.
  void Apply(const GatewayConfig& config);

 private:
  const std::string platform_;
  std::vector<std::string> enclaves_;  // as the file last had them
  HotSettings& live_;
  DataPlane& data_plane_;
};

}  // namespace bulla
