#include "gateway/frontend/tcp_listen.h"

#include <cstring>
#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/asio/ip/v6_only.hpp>

#include "base/errno_text.h"
#include "base/host_port.h"

namespace bulla {

using boost::asio::ip::tcp;

namespace {

std::string TextOf(const tcp::endpoint& endpoint) {
  return HostPort{endpoint.address().to_string(), endpoint.port()}.ToString();
}

std::string_view NextStep(const boost::system::error_code& error) {
  if (error == boost::system::errc::address_in_use) {
    return "stop what listens there (`ss -ltnp` names it), or take another port; 0 picks a free "
           "one";
  }
  if (error == boost::system::errc::address_not_available) {
    return "take an address of this machine (`ip address`)";
  }
  if (error == boost::system::errc::permission_denied) return "take a port from 1024 on";
  return "see the error";
}

}  // namespace

absl::StatusOr<tcp::endpoint> ParseListenEndpoint(const std::string& listen) {
  BULLA_ASSIGN_OR_RETURN(SocketAddress address, ParseListenAddress(listen));
  tcp::endpoint endpoint;
  endpoint.resize(address.size);
  std::memcpy(endpoint.data(), address.data(), address.size);
  return endpoint;
}

absl::StatusOr<tcp::acceptor> ListenOn(boost::asio::io_context& io, const tcp::endpoint& endpoint,
                                       bool share) {
  tcp::acceptor acceptor(io);
  boost::system::error_code ec;
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  // Whatever net.ipv6.bindv6only says: [::] means the same everywhere.
  if (!ec && endpoint.protocol() == tcp::v6()) {
    acceptor.set_option(boost::asio::ip::v6_only(false), ec);
  }
  if (!ec && share) {
    int on = 1;
    if (::setsockopt(acceptor.native_handle(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
      ec.assign(errno, boost::system::system_category());
    }
  }
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(boost::asio::socket_base::max_listen_connections, ec);
  if (!ec) acceptor.non_blocking(true, ec);
  if (ec) {
    return absl::UnavailableError(
        fmt::format("{}: {}; next: {}", TextOf(endpoint), ErrnoText(ec.value()), NextStep(ec)));
  }
  return acceptor;
}

IpAddress ToIpAddress(const tcp::endpoint& endpoint) {
  const boost::asio::ip::address address = endpoint.address();
  return address.is_v4() ? MappedV4(address.to_v4().to_bytes()) : address.to_v6().to_bytes();
}

std::string AddressOf(const tcp::acceptor& acceptor) {
  boost::system::error_code ec;
  tcp::endpoint endpoint = acceptor.local_endpoint(ec);
  return TextOf(endpoint);
}

}  // namespace bulla
