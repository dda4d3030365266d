#pragma once

// The enclave's door: accepts connections (vsock in an enclave, a Unix socket in development) and
// hands each to gRPC, which in this version can neither listen on vsock nor dial it by name.

#include <grpcpp/server.h>
#include <memory>
#include <thread>

#include <boost/asio/io_context.hpp>

#include "base/acceptor.h"
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
  EnclaveServer(UniqueFd listener, std::unique_ptr<grpc::Server> server);

  std::unique_ptr<grpc::Server> server_;
  boost::asio::io_context io_{1};
  Acceptor acceptor_;
  std::thread thread_;
};

}  // namespace bulla
