#pragma once

// gRPC's standard health service: Check and Watch, for the server as a whole ("") and for
// bulla.v1.Signer.

#include "http2/grpc_server.h"

namespace bulla {

void AddHealthService(http2::GrpcMethods& methods);

}  // namespace bulla
