#pragma once

// Listening sockets for the two servers on Boost.Asio.

#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/status.h"

namespace bulla {

// "HOST:PORT" or "[IPv6]:PORT" to an endpoint; HOST is an address or "localhost". No name service
// is asked.
absl::StatusOr<boost::asio::ip::tcp::endpoint> ParseListenAddress(const std::string& listen);

// A non-blocking listening socket. With `share`, others of this process may listen on the same port
// (SO_REUSEPORT).
absl::StatusOr<boost::asio::ip::tcp::acceptor> ListenOn(
    boost::asio::io_context& io, const boost::asio::ip::tcp::endpoint& endpoint, bool share);

// HOST:PORT of a listening socket.
std::string AddressOf(const boost::asio::ip::tcp::acceptor& acceptor);

}  // namespace bulla
