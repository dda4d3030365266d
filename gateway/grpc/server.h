#pragma once

// The gRPC front end, on http2/: bulla.v1.Signer (api/bulla/v1/signer.proto) with server reflection
// and the standard health service. Rules and words are those of HTTP (gateway/frontend/call_rules).
//
// Its I/O threads are gateway/grpc/worker (what they have in common with those of HTTP:
// gateway/frontend/worker), the connections gateway/grpc/connection; the calls are in unary,
// sign_stream, health and reflection. Here is the whole: it starts, drains and stops.

#include <cstddef>
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
    int threads = 2;
    std::size_t connections_max = limits::kGrpcConnectionsMax;
    std::size_t memory_bytes_max = limits::kGrpcMemoryBytesMax;
    ForwardedRules forwarded;     // whom proxies may speak for
    bool proxy_protocol = false;  // and whether connections begin with it
    // Hot; they outlive the server. Their time-outs are for callers who set no shorter one.
    const CallSettings& calls = kUsualCallSettings;
  };

  static constexpr char kServiceName[] = "bulla.v1.Signer";

  // As many connections as leave descriptors for everything else, of those that HTTP leaves: half,
  // kGrpcConnectionsMax at most.
  static std::size_t ConnectionsMax(std::size_t descriptors_left);

  // `service`, `clients`, `metrics` and `clock` must outlive it.
  GrpcServer(Options options, SignerService& service, Clients& clients, Metrics& metrics,
             const Clock& clock);
  ~GrpcServer();  // Stop()

  // Listens and starts the threads. Returns the address it listens on, HOST:PORT with the port
  // chosen. Call once. Health says NOT_SERVING until SetServing(true).
  absl::StatusOr<std::string> Start();

  // What the health service answers, for "" and for kServiceName. From any thread.
  void SetServing(bool serving);

  // Health says NOT_SERVING, nobody new is let in, callers are told to go elsewhere (GOAWAY), what
  // they have asked is answered, and streams end with UNAVAILABLE; true when all are gone. At
  // `deadline` what is left is cancelled, and the answer is false. Blocks.
  bool Drain(MonotonicTime deadline);

  // Cancels what is left. Blocks until the service has delivered every call it holds. Idempotent.
  void Stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bulla
