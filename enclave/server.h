#pragma once

// The enclave's door: accepts connections (vsock in an enclave, a Unix socket in development) and
// speaks gRPC on each (http2/), all on one event loop. Whoever connects is a stranger: vsock has no
// access control, so everything that he can make this loop do or keep is bounded.

#include <memory>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "base/acceptor.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mutex.h"
#include "base/status.h"
#include "enclave/service.h"
#include "http2/grpc_server.h"
#include "wire/address.h"

namespace bulla::http2 {
class Connection;
}  // namespace bulla::http2

namespace bulla {

class EnclaveServer {
 public:
  // `service` and `clock` outlive it.
  static absl::StatusOr<std::unique_ptr<EnclaveServer>> Start(const Address& address,
                                                              EnclaveService& service,
                                                              const Clock& clock);
  // Stops accepting, lets calls under way end for a second, joins.
  ~EnclaveServer();

 private:
  EnclaveServer(UniqueFd listener, EnclaveService& service, const Clock& clock);
  // On the loop's thread.
  void Take(UniqueFd fd);
  void Drain();

  const Clock& clock_;
  http2::GrpcMethods methods_;
  boost::asio::io_context io_{1};
  Acceptor acceptor_;
  std::vector<std::weak_ptr<http2::Connection>> connections_;  // the loop's

  Mutex mutex_;
  CondVar ended_changed_;
  bool ended_ BULLA_GUARDED_BY(mutex_) = false;  // the loop has nothing to do any more
  std::thread thread_;
};

}  // namespace bulla
