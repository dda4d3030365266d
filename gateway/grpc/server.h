#pragma once

// The gRPC front end: bulla.v1.Signer (api/bulla/v1/signer.proto) with server reflection and the
// standard health service. Reactions validate, hand over and return; what the service finishes is
// answered from its threads. Rules and words are those of HTTP
// (gateway/frontend/call_rules).
//
// Here are the unary calls and the whole: it starts, drains and stops. SignStream is
// gateway/grpc/sign_stream, and what all calls share is gateway/grpc/shared.

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/status.h"
#include "gateway/call/clients.h"
#include "gateway/call/signer_service.h"
#include "gateway/frontend/call_settings.h"
#include "gateway/frontend/forwarded.h"
#include "gateway/frontend/host_rules.h"
#include "gateway/frontend/limits.h"

namespace bulla {

// Thread-safe, except that Start, Drain, Stop and the destructor are for one thread.
class GrpcServer {
 public:
  struct Options {
    std::string listen = "127.0.0.1:8081";  // HOST:PORT; port 0 picks a free one
    HostRules hosts;                        // for the authority that calls name
    ForwardedRules forwarded;               // whom proxies may speak for
    bool proxy_protocol = false;            // and whether connections begin with it
    // Hot; they outlive the server. Their time-outs are for callers who set no shorter one.
    const CallSettings& calls = kUsualCallSettings;
  };

  // `service`, `clients`, `metrics` and `clock` must outlive it.
  GrpcServer(Options options, SignerService& service, Clients& clients, Metrics& metrics,
             const Clock& clock);
  ~GrpcServer();  // Stop()

  // Returns the address it listens on, HOST:PORT with the port chosen. Call once. Health says
  // NOT_SERVING until SetServing(true).
  absl::StatusOr<std::string> Start();

  // What the health service answers, for "" and for "bulla.v1.Signer".
  void SetServing(bool serving);

  // Health says NOT_SERVING, no new call is taken, and those under way are answered; a SignStream
  // ends when its caller half-closes. At `deadline` what is left is cancelled, and the answer is
  // false. Blocks.
  bool Drain(MonotonicTime deadline);

  // Cancels what is left. Blocks until the service has delivered every call it holds. Idempotent.
  void Stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bulla
