#include "gateway/grpc/proxy_header_wait.h"

#include <cerrno>
#include <sys/socket.h>
#include <utility>

namespace bulla {

using boost::asio::ip::tcp;
using boost::system::error_code;

void GrpcProxyHeaderWait::Start(std::chrono::milliseconds timeout) {
  timer_.expires_after(timeout);
  timer_.async_wait([self = shared_from_this()](const error_code& error) {
    if (!error) self->Finish({}, {});
  });
  Wait();
}

void GrpcProxyHeaderWait::Wait() {
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& error) {
    if (!error) self->OnReadable();
  });
}

// What is peeked at and is not yet a whole header is all part of it, so it can be taken.
void GrpcProxyHeaderWait::OnReadable() {
  if (!socket_.is_open()) return;
  const ssize_t peeked = ::recv(socket_.native_handle(), bytes_.data() + size_,
                                bytes_.size() - size_, MSG_PEEK | MSG_DONTWAIT);
  if (peeked < 0 && (errno == EAGAIN || errno == EINTR)) return Wait();
  if (peeked <= 0) return Finish({}, {});
  const ProxyHeader header =
      ParseProxyHeader({bytes_.data(), size_ + static_cast<std::size_t>(peeked)});
  if (header.state == ProxyHeader::State::kMalformed) return Finish({}, {});
  const bool done = header.state == ProxyHeader::State::kDone;
  const std::size_t mine = done ? header.bytes - size_ : static_cast<std::size_t>(peeked);
  if (::recv(socket_.native_handle(), bytes_.data() + size_, mine, MSG_DONTWAIT) !=
      static_cast<ssize_t>(mine)) {
    return Finish({}, {});
  }
  size_ += mine;
  if (!done) return Wait();
  error_code error;
  const int fd = socket_.release(error);
  Finish(error ? UniqueFd() : UniqueFd(fd), header.source);
}

void GrpcProxyHeaderWait::Finish(UniqueFd fd, std::optional<IpAddress> source) {
  const Done done = std::exchange(done_, nullptr);
  Close();
  if (done) done(*this, std::move(fd), source);
}

void GrpcProxyHeaderWait::Close() {
  done_ = nullptr;
  error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
}

}  // namespace bulla
