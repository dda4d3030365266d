#pragma once

// The connection of a trusted proxy, until its PROXY header is there. It takes no byte behind that:
// those are HTTP/2's.

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/fd.h"
#include "gateway/call/ip_address.h"
#include "gateway/frontend/proxy_protocol.h"

namespace bulla {

// Confined to the thread of its socket.
class GrpcProxyHeaderWait final : public std::enable_shared_from_this<GrpcProxyHeaderWait> {
 public:
  // `fd` is empty when no header has come in time, or something else; `source` as
  // ProxyHeader::source.
  using Done =
      std::function<void(GrpcProxyHeaderWait& wait, UniqueFd fd, std::optional<IpAddress> source)>;

  GrpcProxyHeaderWait(boost::asio::ip::tcp::socket socket, Done done)
      : socket_(std::move(socket)), timer_(socket_.get_executor()), done_(std::move(done)) {}

  // `done` is called once, later, unless Close() comes first. The loop keeps it until then.
  void Start(std::chrono::milliseconds timeout);
  void Close();

 private:
  void Wait();
  void OnReadable();
  void Finish(UniqueFd fd, std::optional<IpAddress> source);

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  Done done_;
  std::array<char, kProxyHeaderBytesMax> bytes_;
  std::size_t size_ = 0;
};

}  // namespace bulla
