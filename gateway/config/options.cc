#include "gateway/config/options.h"

#include <fmt/format.h>
#include <string>
#include <utility>
#include <vector>

#include "base/acceptor.h"
#include "base/host_port.h"
#include "base/limits.h"
#include "base/log.h"

namespace bulla {

absl::StatusOr<DataPlane::Options> DataPlaneOptionsOf(const GatewayConfig& config) {
  BULLA_ASSIGN_OR_RETURN(std::vector<EnclaveSpec> enclaves,
                         EnclaveSpecs(config.enclaves, config.platform));
  return DataPlane::Options{
      .enclaves = std::move(enclaves),
      .credentials_file = config.credentials_file,
      .platform = config.platform,
      .deks_ahead_max = static_cast<std::size_t>(config.unlock_deks_ahead_max),
      .key_policy = config.key_policy,
      .adopt_enclaves = config.adopt_enclaves};
}

absl::StatusOr<KmsForwarder::Options> KmsForwarderOptionsOf(const GatewayConfig& config,
                                                            Metrics& metrics) {
  BULLA_ASSIGN_OR_RETURN(Address listen, Address::Parse(config.kms_forwarder_listen));
  BULLA_ASSIGN_OR_RETURN(HostPort target, ParseTarget(config.kms_forwarder_target));
  return KmsForwarder::Options{.listen = listen,
                               .target_host = target.host,
                               .target_port = std::to_string(target.port),
                               .on_accept_pause = Acceptor::CountIn(metrics, "kms_forwarder")};
}

absl::StatusOr<HttpServer::Options> HttpOptionsOf(const GatewayConfig& config,
                                                  const HotSettings& live,
                                                  std::size_t descriptors_max) {
  BULLA_ASSIGN_OR_RETURN(HostRules hosts, HostRules::Parse(config.allowed_hosts));
  BULLA_ASSIGN_OR_RETURN(ForwardedRules forwarded, ForwardedRulesOf(config));
  const std::size_t connections_max = HttpServer::ConnectionsMax(descriptors_max);
  if (connections_max < limits::kHttpConnectionsMax) {
    LogWarn("http_connections_few",
            {{"connections_max", connections_max},
             {"instead_of", limits::kHttpConnectionsMax},
             {"next", fmt::format("allow {} open files (LimitNOFILE=, ulimit -n), got {}",
                                  limits::kHttpConnectionsMax + limits::kOtherDescriptors,
                                  descriptors_max)}});
  }
  return HttpServer::Options{.listen = config.http_listen,
                             .hosts = std::move(hosts),
                             .threads = static_cast<int>(config.http_threads),
                             .connections_max = connections_max,
                             .forwarded = std::move(forwarded),
                             .proxy_protocol = config.http_proxy_protocol,
                             .timeouts = live.http,
                             .calls = live.calls};
}

absl::StatusOr<GrpcServer::Options> GrpcOptionsOf(const GatewayConfig& config,
                                                  const HotSettings& live,
                                                  std::size_t descriptors_max) {
  BULLA_ASSIGN_OR_RETURN(HostRules hosts, HostRules::Parse(config.allowed_hosts));
  BULLA_ASSIGN_OR_RETURN(ForwardedRules forwarded, ForwardedRulesOf(config));
  const std::size_t left = descriptors_max - HttpServer::ConnectionsMax(descriptors_max);
  return GrpcServer::Options{.listen = config.grpc_listen,
                             .hosts = std::move(hosts),
                             .threads = static_cast<int>(config.http_threads),
                             .connections_max = GrpcServer::ConnectionsMax(left),
                             .forwarded = std::move(forwarded),
                             .proxy_protocol = config.grpc_proxy_protocol,
                             .calls = live.calls};
}

}  // namespace bulla
