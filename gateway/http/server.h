#pragma once

// The HTTP/1.1 front end: POST /create, POST /sign, POST /sign/batch, GET /keys/{keyId}. The
// contract is api/openapi.yaml.
//
// Its I/O threads are gateway/http/worker (what they have in common with those of gRPC:
// gateway/frontend/worker), the connections gateway/http/connection, and one request with its
// answer is gateway/http/exchange. Here is the whole: it starts, drains and stops.

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
#include "gateway/frontend/worker.h"
#include "gateway/http/timeouts.h"

namespace bulla {

struct HttpShared;

// Thread-safe, except that Start, Drain, Stop and the destructor are for one thread.
class HttpServer {
 public:
  struct Options {
    std::string listen = "127.0.0.1:8080";  // HOST:PORT, [IPv6]:PORT; port 0 picks a free one
    HostRules hosts;
    int threads = 2;
    std::size_t body_bytes_max = limits::kRequestBodyBytesMax;
    std::size_t connections_max = limits::kHttpConnectionsMax;
    std::size_t request_pool_bytes = limits::kHttpRequestPoolBytes;
    std::size_t answer_pool_bytes = limits::kHttpAnswerPoolBytes;
    ForwardedRules forwarded;     // whom proxies may speak for
    bool proxy_protocol = false;  // and whether they begin connections with its header
    // Hot; they outlive the server.
    const HttpTimeouts& timeouts = kUsualHttpTimeouts;
    const CallSettings& calls = kUsualCallSettings;
  };

  // As many connections as leave descriptors for everything else, when the process may have
  // `descriptors_max`: half of those at least, kHttpConnectionsMax at most.
  static std::size_t ConnectionsMax(std::size_t descriptors_max);

  // `service`, `clients`, `metrics` and `clock` must outlive it.
  HttpServer(Options options, SignerService& service, Clients& clients, Metrics& metrics,
             const Clock& clock);
  ~HttpServer();  // Stop()

  // Listens and starts the threads. Returns the address it listens on, HOST:PORT with the port
  // chosen. Fails when the address is taken. Call once.
  absl::StatusOr<std::string> Start();

  // Stops accepting, answers every request that arrives on the connections there are, each with
  // `Connection: close`, and returns when all are closed: true. False at `deadline`, with some
  // still open. Blocks.
  bool Drain(MonotonicTime deadline);

  // Closes everything and joins the threads. Blocks until the service has delivered every call it
  // holds (which it does by their deadlines). Idempotent.
  void Stop();

 private:
  std::unique_ptr<HttpShared> shared_;
  FrontendWorkers workers_;
};

}  // namespace bulla
