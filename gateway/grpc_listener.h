#pragma once

// Where the gRPC face listens. gRPC's own listeners say nothing of why they could not listen, and
// take 0.0.0.0 for every address of both kinds; this one means what the other listeners of the
// gateway mean (base/host_port.h) and hands each connection over.

#include <grpcpp/server_builder.h>
#include <memory>
#include <string>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/status.h"

namespace bulla {

// For one thread; the connections are accepted on a thread of its own.
class GrpcListener {
 public:
  using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

  // Takes the port. Connections wait until Start().
  static absl::StatusOr<std::unique_ptr<GrpcListener>> Open(const std::string& listen);
  ~GrpcListener();  // StopBlocking()

  // HOST:PORT, with the port chosen.
  std::string address() const;
  // Hands connections to `acceptor`, whose server runs. Call once.
  void Start(std::unique_ptr<Acceptor> acceptor);
  // Closes the port. Idempotent.
  void StopBlocking();

 private:
  GrpcListener() = default;
  void Accept();
  void HandOver(boost::asio::ip::tcp::socket socket);

  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor listener_{io_};
  boost::asio::steady_timer pause_{io_};
  std::unique_ptr<Acceptor> acceptor_;
  std::thread thread_;
};

}  // namespace bulla
