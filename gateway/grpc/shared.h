#pragma once

// What the threads of the gRPC front end share, and what its calls have in common: the service
// behind them, who is let in, the statuses that they end with, and the rules that only protobuf
// needs. Rules that HTTP has too are in gateway/frontend/call_rules.

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <google/protobuf/message.h>

#include "base/acceptor.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "bulla/v1/signer.pb.h"
#include "gateway/call/clients.h"
#include "gateway/call/signer_service.h"
#include "gateway/frontend/metrics.h"
#include "gateway/grpc/server.h"
#include "http2/grpc_fields.h"
#include "http2/grpc_server.h"
#include "http2/header_block.h"
#include "wire/errors.h"

namespace bulla {

inline constexpr std::string_view kGrpcRequestIdName = "x-request-id";

// Thread-safe.
struct GrpcShared {
  GrpcShared(GrpcServer::Options o, SignerService& s, Clients& of, Metrics& m, const Clock& c)
      : options(std::move(o)),
        service(s),
        clients(of),
        clock(c),
        metrics(m, "grpc"),
        on_accept_pause(Acceptor::CountIn(m, "grpc")),
        connections_ended(m.AddCounter("bulla_gateway_grpc_connections_ended_total",
                                       "Connections of gRPC callers that were ended to make room: "
                                       "idle ones for a newcomer, newcomers for want of one, and "
                                       "those that held most memory")) {}

  // The authority is ours, and no tenant is named in the metadata.
  Error CheckHeaders(const http2::HeaderBlock& headers) const;
  // The caller's request id, of several the first that is acceptable. Empty: none.
  std::string_view RequestIdOf(const http2::HeaderBlock& headers) const;
  // Whom a call on a connection from `peer` is from, where a proxy speaks for it.
  std::optional<Client> ClientBehindProxy(const http2::HeaderBlock& headers, const IpAddress& peer);
  // The status of a call that ends with `error`, with google.rpc.Status as its details, as the
  // contract has it.
  http2::GrpcStatus StatusOf(const Error& error) const;

  const GrpcServer::Options options;
  SignerService& service;
  Clients& clients;
  const Clock& clock;
  FrontendMetrics metrics;
  const std::function<void()> on_accept_pause;
  prometheus::Counter& connections_ended;
  http2::GrpcMethods methods;               // filled in before the first thread starts
  std::atomic<std::size_t> connections{0};  // against connections_max
  std::atomic<bool> serving{false};         // what the health service says
};

// Reads a message of the contract.
Error ParseMessage(ByteSpan bytes, google::protobuf::Message& message);
// `message` itself has only fields that the contract has; not what is in it.
Error CheckUnknownFields(const google::protobuf::Message& message);

// With `der`, the signature is given in that form too.
void FillSignature(const RecoverableSignature& signature, bool der, v1::SignResponse& out);

}  // namespace bulla
