#include "gateway/tcp_listen.h"

#include <charconv>
#include <cstdint>
#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/asio/ip/address.hpp>

namespace bulla {

using boost::asio::ip::tcp;

absl::StatusOr<tcp::endpoint> ParseListenAddress(const std::string& listen) {
  std::size_t colon = listen.rfind(':');
  std::uint16_t port = 0;
  if (colon != std::string::npos) {
    const char* last = listen.data() + listen.size();
    auto [end, ec] = std::from_chars(listen.data() + colon + 1, last, port);
    if (ec != std::errc() || end != last) colon = std::string::npos;
  }
  if (colon == std::string::npos) {
    return absl::InvalidArgumentError(
        fmt::format("listen: got {}, want HOST:PORT, such as 127.0.0.1:8080", listen));
  }
  std::string host = listen.substr(0, colon);
  if (host == "localhost") host = "127.0.0.1";
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  boost::system::error_code ec;
  boost::asio::ip::address address = boost::asio::ip::make_address(host, ec);
  if (ec) {
    return absl::InvalidArgumentError(
        fmt::format("listen: {} is no IP address; want HOST:PORT, such as 127.0.0.1:8080", host));
  }
  return tcp::endpoint(address, port);
}

absl::StatusOr<tcp::acceptor> ListenOn(boost::asio::io_context& io, const tcp::endpoint& endpoint,
                                       bool share) {
  tcp::acceptor acceptor(io);
  boost::system::error_code ec;
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
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
    return absl::UnavailableError(fmt::format("cannot listen on {}:{}: {}",
                                              endpoint.address().to_string(), endpoint.port(),
                                              ec.message()));
  }
  return acceptor;
}

std::string AddressOf(const tcp::acceptor& acceptor) {
  boost::system::error_code ec;
  tcp::endpoint endpoint = acceptor.local_endpoint(ec);
  std::string host = endpoint.address().to_string();
  if (endpoint.address().is_v6()) host = "[" + host + "]";
  return fmt::format("{}:{}", host, endpoint.port());
}

}  // namespace bulla
