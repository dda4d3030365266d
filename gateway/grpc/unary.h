#pragma once

// The unary calls: Create, Sign, GetKey.

#include "base/bytes.h"
#include "http2/grpc_server.h"

namespace bulla {

void ServeCreate(http2::GrpcServer& server, const http2::GrpcRequest& request, ByteSpan message);
void ServeSign(http2::GrpcServer& server, const http2::GrpcRequest& request, ByteSpan message);
void ServeGetKey(http2::GrpcServer& server, const http2::GrpcRequest& request, ByteSpan message);

}  // namespace bulla
