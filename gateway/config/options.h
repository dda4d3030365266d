#pragma once

// What each part of the gateway is started with, as the settings have it, and which of the live
// ones it reads; those outlive the part. Errors name the setting.

#include "base/metrics.h"
#include "base/status.h"
#include "gateway/config/gateway_config.h"
#include "gateway/grpc/server.h"
#include "gateway/http/server.h"
#include "gateway/routing/data_plane.h"
#include "gateway/unlock/kms_forwarder.h"

namespace bulla {

absl::StatusOr<DataPlane::Options> DataPlaneOptionsOf(const GatewayConfig& config);
// Pauses of its listener are counted in `metrics`.
absl::StatusOr<KmsForwarder::Options> KmsForwarderOptionsOf(const GatewayConfig& config,
                                                            Metrics& metrics);
// `descriptors_max`: files that the process may have open. That they are too few for the
// connections that are meant to be taken is logged.
absl::StatusOr<HttpServer::Options> HttpOptionsOf(const GatewayConfig& config,
                                                  const HotSettings& live,
                                                  std::size_t descriptors_max);
absl::StatusOr<GrpcServer::Options> GrpcOptionsOf(const GatewayConfig& config,
                                                  const HotSettings& live,
                                                  std::size_t descriptors_max);

}  // namespace bulla
