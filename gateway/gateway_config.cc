#include "gateway/gateway_config.h"

#include <fmt/format.h>

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::string_view kSqliteScheme = "sqlite://";
constexpr std::size_t kEnclavesMax = 64;  // HashRing::kMembersMax

}  // namespace

void RegisterSettings(GatewayConfig& config, ConfigReader& reader) {
  reader.AddString("http.listen", &config.http_listen,
                   "HOST:PORT of the HTTP face; port 0 picks a free one.");
  reader.AddInteger("http.threads", &config.http_threads, "threads", 1, 64,
                    "I/O threads of the HTTP face. Two serve 500 connections.");
  reader.AddString("grpc.listen", &config.grpc_listen, "HOST:PORT of the gRPC face.");
  reader.AddString("admin.listen", &config.admin_listen,
                   "HOST:PORT of health, metrics and status. Keep it off public networks.");
  reader.AddString("log_level", &config.log_level, "debug, info, warn or error.");
  reader.AddString("store", &config.store, "The key store: sqlite:///PATH. The folder must exist.");
  reader.AddStringList("enclaves", &config.enclaves, kEnclavesMax,
                       "The enclaves: vsock:CID:PORT, unix:/PATH or tcp:IPV4:PORT.");
  reader.AddInteger("streams_per_enclave", &config.streams_per_enclave, "connections", 1, 32,
                    "Long-lived connections to each enclave. 16 to 32 in production.");
  reader.AddString("kms_forwarder.listen", &config.kms_forwarder_listen,
                   "Where enclaves find their way to KMS.");
  reader.AddString("kms_forwarder.target", &config.kms_forwarder_target,
                   "HOST:PORT of KMS, the only place that the way leads to: "
                   "kms.eu-central-1.amazonaws.com:443.");
  reader.AddString(
      "credentials_file", &config.credentials_file,
      "AWS credentials for the enclaves' calls to KMS: JSON with accessKeyId, "
      "secretAccessKey and, where there is one, sessionToken. Read again for each call.");
  reader.AddDuration("sign_timeout", &config.sign_timeout, milliseconds(1), minutes(1),
                     "A signature that is not there by then is given up.");
  reader.AddDuration("create_timeout", &config.create_timeout, milliseconds(1), minutes(1),
                     "The same for a new key.");
  reader.AddDuration("drain_timeout", &config.drain_timeout, seconds(0), minutes(10),
                     "On SIGTERM, how long requests under way may take.");
}

absl::Status Validate(const GatewayConfig& config, const ConfigReader& reader) {
  if (!config.store.starts_with(kSqliteScheme) || SqlitePath(config).empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: got \"{}\", want sqlite:///PATH", reader.Where("store"), config.store));
  }
  if (config.enclaves.empty()) {
    return absl::InvalidArgumentError(fmt::format("{}: is needed", reader.Where("enclaves")));
  }
  for (const auto& [key, value] : {std::pair{"kms_forwarder.target", &config.kms_forwarder_target},
                                   std::pair{"credentials_file", &config.credentials_file}}) {
    if (value->empty()) {
      return absl::InvalidArgumentError(fmt::format("{}: is needed", reader.Where(key)));
    }
  }
  if (config.kms_forwarder_target.find(':') == std::string::npos) {
    return absl::InvalidArgumentError(fmt::format("{}: got \"{}\", want HOST:PORT",
                                                  reader.Where("kms_forwarder.target"),
                                                  config.kms_forwarder_target));
  }
  return absl::OkStatus();
}

std::string SqlitePath(const GatewayConfig& config) {
  return config.store.substr(kSqliteScheme.size());
}

}  // namespace bulla
