#pragma once

// SignStream: signatures asked for and answered in one call, many to a message, in any order.
//
// One stream is worth thousands of calls, so what it may hold is bounded, and a drain has to reach
// the streams that stand: an idle one would never end by itself.

#include <grpcpp/grpcpp.h>
#include <set>

#include "base/mutex.h"
#include "bulla/v1/signer.pb.h"
#include "gateway/grpc/shared.h"

namespace bulla {

class GrpcSignStream;

// The streams there are, so that a drain can end them. Thread-safe.
class GrpcStreamList {
 public:
  // False while draining: the stream is to end at once.
  bool Add(GrpcSignStream* stream);
  void Remove(GrpcSignStream* stream);
  // Each stream reads no more, answers what was read, and ends with UNAVAILABLE.
  void BeginDrain();

 private:
  Mutex mutex_;
  std::set<GrpcSignStream*> streams_ BULLA_GUARDED_BY(mutex_);
  bool draining_ BULLA_GUARDED_BY(mutex_) = false;
};

// Serves one SignStream. What it returns deletes itself when gRPC is done with it. `shared` and
// `streams` must outlive it.
grpc::ServerBidiReactor<v1::SignStreamRequest, v1::SignStreamResponse>* ServeSignStream(
    GrpcShared& shared, GrpcStreamList& streams, grpc::CallbackServerContext& context);

}  // namespace bulla
