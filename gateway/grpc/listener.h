#pragma once

// Where the gRPC front end listens. gRPC's own listeners say nothing of why they could not listen,
// take 0.0.0.0 for every address of both kinds, and never accept again once they were out of
// descriptors; this one means what the other listeners of the gateway mean (base/host_port.h),
// accepts as they do (base/acceptor.h), takes the PROXY header off the connections of trusted
// proxies, and hands each connection over.

#include <functional>
#include <grpcpp/server_builder.h>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/acceptor.h"
#include "base/status.h"
#include "gateway/call/ip_address.h"
#include "gateway/grpc/proxied_peers.h"

namespace bulla {

// For one thread; the connections are accepted on a thread of its own.
class GrpcListener {
 public:
  using Handler = grpc::experimental::ExternalConnectionAcceptor;

  struct Options {
    std::string listen;
    // Whose connections begin with a PROXY header; empty: nobody's.
    IpNetworks proxies;
    std::function<void()> on_accept_pause;
  };

  // Takes the port. Connections wait until Start(). What PROXY headers say goes to `peers`, which
  // must outlive it.
  static absl::StatusOr<std::unique_ptr<GrpcListener>> Open(Options options, ProxiedPeers& peers);
  ~GrpcListener();  // StopBlocking()

  // HOST:PORT, with the port chosen.
  const std::string& address() const { return address_; }
  // Hands connections to `handler`, whose server runs. Call once.
  void Start(std::unique_ptr<Handler> handler);
  // Closes the port. Idempotent.
  void StopBlocking();

 private:
  class ProxyHeaderWait;

  GrpcListener(Options options, ProxiedPeers& peers)
      : options_(std::move(options)), peers_(peers) {}
  void Take(UniqueFd fd);
  void HandOver(boost::asio::ip::tcp::socket socket);

  const Options options_;
  ProxiedPeers& peers_;
  std::string address_;
  boost::asio::ip::tcp protocol_ = boost::asio::ip::tcp::v4();
  int listener_fd_ = -1;  // acceptor_'s
  std::unique_ptr<Handler> handler_;
  std::size_t header_waits_ = 0;
  boost::asio::io_context io_{1};
  std::optional<Acceptor> acceptor_;
  std::thread thread_;
};

}  // namespace bulla
