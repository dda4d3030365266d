#pragma once

// What all calls of the gRPC front end share: the service behind them, who is let in, request ids
// and deadlines; the statuses they end with; and the rules that only protobuf needs. Rules that
// HTTP has too are in gateway/frontend/call_rules.

#include <grpcpp/grpcpp.h>
#include <string>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "bulla/v1/signer.pb.h"
#include "gateway/call/clients.h"
#include "gateway/call/signer_service.h"
#include "gateway/frontend/metrics.h"
#include "gateway/frontend/request_id.h"
#include "gateway/grpc/proxied_peers.h"
#include "gateway/grpc/server.h"
#include "wire/errors.h"

namespace bulla {

// Thread-safe.
class GrpcShared {
 public:
  GrpcShared(GrpcServer::Options o, SignerService& s, Clients& of, Metrics& m, const Clock& c)
      : options(std::move(o)), service(s), clients(of), clock(c), metrics(m, "grpc") {}

  // The caller's request id, of several the first that is acceptable, or a new one; echoed before
  // the first message and with the status, since client libraries differ in which of the two they
  // show.
  std::string TakeRequestId(grpc::CallbackServerContext& context);

  // The authority is ours, and no tenant is named in the metadata.
  Error CheckMetadata(const grpc::CallbackServerContext& context) const;

  // The earlier of the caller's deadline and `timeout` from now.
  MonotonicTime Deadline(const grpc::CallbackServerContext& context, Duration timeout) const;

  // The status of a call that ends with `error`, with google.rpc.Status as its details, as the
  // contract has it.
  grpc::Status StatusOf(const Error& error) const;

  // Who calls.
  Client ClientOf(const grpc::CallbackServerContext& context);

  const GrpcServer::Options options;
  SignerService& service;
  Clients& clients;
  const Clock& clock;
  FrontendMetrics metrics;
  ProxiedPeers proxied_peers;

 private:
  Mutex mutex_;
  RequestIdSource ids_ BULLA_GUARDED_BY(mutex_);
};

// `message` has only fields that the contract has.
Error CheckUnknownFields(const google::protobuf::Message& message);

// With `der`, the signature is given in that form too.
void FillSignature(const RecoverableSignature& signature, bool der, v1::SignResponse& out);

}  // namespace bulla
