#pragma once

// A stream of http2/grpc_server that answers each message with the same message.

#include "base/bytes.h"
#include "http2/grpc_server.h"

namespace bulla::http2 {

class Echo : public GrpcHandler {
 public:
  Echo(GrpcServer& server, StreamId stream) : server_(server), stream_(stream) {}
  void OnMessage(ByteSpan message) override { server_.Send(stream_, message); }
  void OnHalfClose() override { server_.Finish(stream_, {}); }

 protected:
  GrpcServer& server_;
  const StreamId stream_;
};

}  // namespace bulla::http2
