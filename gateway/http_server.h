#pragma once

// The HTTP/1.1 face: POST /create, POST /sign, POST /sign/batch, GET /keys/{keyId}. The contract is
// api/openapi.yaml.
//
// A few I/O threads, each with an event loop, a listening socket (SO_REUSEPORT: the kernel spreads
// the connections) and the connections it accepted. A connection never leaves its thread, so
// nothing in it is locked; finished calls come back through one CallHome per thread, one hand-off
// for all that finished together. Requests that arrive together are handed to the service together.
//
// A connection answers its requests one after the other, in order, pipelined or not.

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/limits.h"
#include "base/metrics.h"
#include "base/status.h"
#include "gateway/signer_service.h"

namespace bulla {

// Thread-safe, except that Start, Drain, Stop and the destructor are for one thread.
class HttpServer {
 public:
  struct Options {
    std::string listen = "127.0.0.1:8080";  // HOST:PORT, [IPv6]:PORT; port 0 picks a free one
    int threads = 2;
    std::size_t body_bytes_max = limits::kRequestBodyBytesMax;
    std::size_t connections_max = limits::kHttpConnectionsMax;
    std::size_t calls_in_flight_max = limits::kFaceCallsInFlightMax;
    Duration idle_timeout = limits::kHttpIdleTimeout;
    Duration header_timeout = limits::kHttpHeaderTimeout;
    Duration body_timeout = limits::kHttpBodyTimeout;
    Duration sign_timeout = limits::kSignTimeout;
    Duration create_timeout = limits::kCreateTimeout;
  };

  // `service`, `metrics` and `clock` must outlive it.
  HttpServer(Options options, SignerService& service, Metrics& metrics, const Clock& clock);
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
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bulla
