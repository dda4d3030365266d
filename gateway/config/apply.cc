#include "gateway/config/apply.h"

#include "base/log.h"

namespace bulla {

void ConfigApplier::Apply(const GatewayConfig& config) {
  live_ = config.hot;
  SetLogLevel(*ParseLogLevel(config.log_level));  // Validate() saw to it
  data_plane_.SetKeyPolicy(config.key_policy);
  data_plane_.RetryRefused();
  if (config.enclaves == enclaves_) return;
  enclaves_ = config.enclaves;
  absl::StatusOr<std::vector<EnclaveSpec>> specs = EnclaveSpecs(config.enclaves, platform_);
  if (specs.ok()) data_plane_.fleet().Reconcile(*specs);  // ConfigWatch saw to it
}

}  // namespace bulla
