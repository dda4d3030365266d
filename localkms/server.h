#pragma once

// The local KMS's listener: HTTP/1.1 with keep-alive on a loopback address, with or without TLS.
// A few threads drive all connections; a handler runs on them, so it may be called by several at
// once and should not take long.

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "localkms/kms_service.h"
#include "localkms/tls_identity.h"

namespace bulla {

struct ServerOptions {
  std::string listen = "127.0.0.1:0";  // address:port of a loopback interface; port 0 takes any
  std::optional<TlsFiles> tls;
  int threads = 2;
};

// Start and Stop from one thread.
class KmsServer {
 public:
  using Handler = std::function<KmsReply(const KmsRequest&)>;

  // INVALID_ARGUMENT for an address that is not loopback, UNAVAILABLE for one that is taken.
  static absl::StatusOr<std::unique_ptr<KmsServer>> Start(const ServerOptions& options,
                                                          Handler handler);
  ~KmsServer();  // stops

  // "127.0.0.1:43210"
  std::string address() const;

  // Takes no new request, answers those under way (for at most five seconds), closes.
  void Stop();

 private:
  class Impl;
  explicit KmsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bulla
