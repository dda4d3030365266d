#pragma once

// The enclave's door: accepts connections (vsock in an enclave, a Unix socket in development) and
// hands each to gRPC, which in this version can neither listen on vsock nor dial it by name.

#include <grpcpp/server.h>
#include <memory>
#include <thread>

#include "base/fd.h"
#include "base/status.h"
#include "enclave/service.h"
#include "wire/address.h"

namespace bulla {

class EnclaveServer {
 public:
  static absl::StatusOr<std::unique_ptr<EnclaveServer>> Start(const Address& address,
                                                              EnclaveService& service);
  // Stops accepting, lets calls under way end for a second, joins.
  ~EnclaveServer();

 private:
  EnclaveServer(UniqueFd listener, UniqueFd wake, std::unique_ptr<grpc::Server> server);
  void AcceptLoop();

  UniqueFd listener_;
  UniqueFd wake_;  // an eventfd; readable once it is time to stop
  std::unique_ptr<grpc::Server> server_;
  std::thread acceptor_;
};

}  // namespace bulla
