#pragma once

// Listening TCP sockets of the gateway.

#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/status.h"
#include "gateway/call/ip_address.h"

namespace bulla {

// HOST:PORT, as base/host_port.h has it for listeners, as an endpoint.
absl::StatusOr<boost::asio::ip::tcp::endpoint> ParseListenEndpoint(const std::string& listen);

// A non-blocking listening socket. With `share`, others of this process may listen on the same port
// (SO_REUSEPORT). UNAVAILABLE names the address, what the system said, and what to do next.
absl::StatusOr<boost::asio::ip::tcp::acceptor> ListenOn(
    boost::asio::io_context& io, const boost::asio::ip::tcp::endpoint& endpoint, bool share);

IpAddress ToIpAddress(const boost::asio::ip::tcp::endpoint& endpoint);

// HOST:PORT of a listening socket.
std::string AddressOf(const boost::asio::ip::tcp::acceptor& acceptor);

}  // namespace bulla
