#pragma once

// The gateway's settings.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/config.h"
#include "base/status.h"
#include "gateway/config/hot_settings.h"
#include "gateway/frontend/forwarded.h"
#include "gateway/frontend/limits.h"
#include "gateway/link/sign_batcher.h"
#include "gateway/routing/fleet.h"
#include "gateway/unlock/unlocker.h"
#include "wire/key_policy.h"

namespace bulla {

struct GatewayConfig {
  std::string platform = "nitro";  // or "simulated"
  std::string http_listen = "127.0.0.1:8080";
  std::int64_t http_threads = 2;
  bool http_proxy_protocol = false;
  std::string grpc_listen = "127.0.0.1:9090";
  bool grpc_proxy_protocol = false;
  std::vector<std::string> trusted_proxies;
  std::string forwarded_field{kForwardedFieldNames[0]};
  std::string admin_listen = "127.0.0.1:9091";
  std::string admin_socket;  // empty: none
  std::vector<std::string> allowed_hosts;
  std::string log_level = "info";  // hot: handed on by gateway/config/apply
  std::string store = "sqlite:///var/lib/bulla/bulla.db";
  std::chrono::milliseconds idempotency_ttl = std::chrono::hours(24);
  std::vector<std::string> enclaves;        // hot: handed on likewise
  std::vector<std::string> adopt_enclaves;  // of those
  std::int64_t unlock_deks_ahead_max = Unlocker::kDeksAheadMax;
  std::string kms_forwarder_listen = "vsock:3:8000";
  std::string kms_forwarder_target;
  std::string credentials_file;
  KeyPolicy key_policy = NothingWanted();  // hot: handed on likewise
  HotSettings hot;
};

// Registers every setting, for loading and for docs/config.md.
void RegisterSettings(GatewayConfig& config, ConfigReader& reader);

// What the fields' own limits do not say.
absl::Status Validate(const GatewayConfig& config, const ConfigReader& reader);

// The file, the environment over it, and everything checked. INVALID_ARGUMENT says what is wrong
// and where.
absl::StatusOr<GatewayConfig> LoadGatewayConfig(
    const std::string& path,
    const ConfigReader::Environment& environment = ConfigReader::ProcessEnvironment);

// Whether an enclave of a gateway on `platform` may be at `address`. It is sent the credentials for
// KMS, so it is this rule that says who gets them, and nothing that whoever answers there says of
// itself. On nitro that is a vsock address of an enclave: what listens on one of the host's own
// context ids is some process of the host. INVALID_ARGUMENT.
absl::Status CheckEnclaveAddress(std::string_view platform, const Address& address);

// `enclaves` of a gateway on `platform`: each an address and, where it is not the usual 100,
// " weight=N". INVALID_ARGUMENT.
absl::StatusOr<std::vector<EnclaveSpec>> EnclaveSpecs(const std::vector<std::string>& enclaves,
                                                      std::string_view platform);

// The hot settings of a gateway that was started with `running` and reads `live`, by their keys,
// written as a file would have them.
std::map<std::string, std::string> HotValues(GatewayConfig running, const HotSettings& live);

// The keys of which no change is taken while the gateway runs and whose values differ: what a
// restart is needed for. A listener of `running` that is where `wanted` has it, at whatever port,
// is none.
std::vector<std::string> ColdDifferences(GatewayConfig running, GatewayConfig wanted);

// `trusted_proxies` and `forwarded_field`. INVALID_ARGUMENT.
absl::StatusOr<ForwardedRules> ForwardedRulesOf(const GatewayConfig& config);

// The path in `store`.
std::string SqlitePath(const GatewayConfig& config);

}  // namespace bulla
