#pragma once

// The gateway's settings.

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/config.h"
#include "base/status.h"
#include "gateway/admission.h"
#include "gateway/sign_batcher.h"
#include "wire/key_policy.h"

namespace bulla {

struct GatewayConfig {
  std::string http_listen = "127.0.0.1:8080";
  std::int64_t http_threads = 2;
  std::string grpc_listen = "127.0.0.1:9090";
  std::string admin_listen = "127.0.0.1:9091";
  std::string log_level = "info";
  std::string store = "sqlite:///var/lib/bulla/bulla.db";
  std::vector<std::string> enclaves;
  std::int64_t streams_per_enclave = 16;
  SignBatcher::Options batch;
  Admission::Options admission;
  std::string kms_forwarder_listen = "vsock:3:8000";
  std::string kms_forwarder_target;
  std::string credentials_file;
  std::chrono::milliseconds sign_timeout{1000};
  std::chrono::milliseconds create_timeout{5000};
  std::chrono::milliseconds drain_timeout{10'000};
  // Hot: a change of the file reaches the enclaves without a restart (gateway/config_watch.h).
  KeyPolicy key_policy = NothingWanted();
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

// The keys whose values differ, those of `key_policy` apart: what a restart is needed for.
std::vector<std::string> ColdDifferences(GatewayConfig a, GatewayConfig b);

// The path in `store`.
std::string SqlitePath(const GatewayConfig& config);

}  // namespace bulla
