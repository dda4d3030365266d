#include "base/acceptor.h"

#include <cerrno>
#include <sys/socket.h>
#include <utility>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fcntl.h>

#include "base/errno_text.h"
#include "base/log.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

// Whether accept failed for that one connection, which is gone from the queue: accept(2) reports
// what happened to it on the network as its own error.
bool IsOfTheConnection(int error) {
  switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case EPERM:  // a firewall's rule
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ETIMEDOUT:
    case ECONNRESET:
      return true;
    default:
      return false;
  }
}

}  // namespace

class Acceptor::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(const asio::any_io_executor& executor, UniqueFd listener, Options options, Take take)
      : options_(std::move(options)),
        take_(std::move(take)),
        // The wait for it must not become a wait in accept, should somebody else have been quicker.
        listener_(executor, NonBlocking(listener.Release())),
        pause_(executor) {}

  void Wait() {
    listener_.async_wait(asio::posix::stream_descriptor::wait_read,
                         [self = shared_from_this()](const error_code& error) {
                           if (error || !self->listener_.is_open()) return;
                           if (self->TakeTurn(kTurnMax)) return self->Wait();
                           self->Pause();
                         });
  }

  // False when none can be taken now; errno says why.
  bool TakeTurn(int count_max) {
    for (int count = 0; count < count_max && listener_.is_open(); ++count) {
      UniqueFd connection(
          ::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (connection.valid()) {
        take_(std::move(connection));
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return true;
      } else if (!IsOfTheConnection(errno)) {
        return false;
      }
    }
    return true;
  }

  void Close() {
    error_code ignored;
    listener_.close(ignored);
    pause_.cancel();
  }

 private:
  static int NonBlocking(int fd) {
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
  }

  void Pause() {
    LogWarn("accept_paused", {{"listener", options_.name},
                              {"reason", ErrnoText(errno)},
                              {"pause_ms", std::int64_t{kPause.count()}},
                              {"next",
                               "allow more open files (LimitNOFILE=, ulimit -n), or find "
                               "who holds so many connections"}});
    if (options_.on_pause) options_.on_pause();
    pause_.expires_after(kPause);
    pause_.async_wait([self = shared_from_this()](const error_code& error) {
      if (!error && self->listener_.is_open()) self->Wait();
    });
  }

  const Options options_;
  const Take take_;
  asio::posix::stream_descriptor listener_;
  asio::steady_timer pause_;
};

std::function<void()> Acceptor::CountIn(Metrics& metrics, const std::string& listener) {
  prometheus::Counter& pauses = metrics.AddCounter(
      "bulla_accept_pauses_total",
      "How often a listener could take no connection, for want of descriptors or memory",
      {{"listener", listener}});
  return [&pauses] { pauses.Increment(); };
}

Acceptor::Acceptor(const asio::any_io_executor& executor, UniqueFd listener, Options options,
                   Take take)
    : impl_(std::make_shared<Impl>(executor, std::move(listener), std::move(options),
                                   std::move(take))) {}

Acceptor::~Acceptor() { Close(); }

void Acceptor::Start() { impl_->Wait(); }

// As many as any queue of the kernel holds (net.core.somaxconn is 4096 and seldom raised).
void Acceptor::TakeWaiting() { impl_->TakeTurn(64 * 1024); }

void Acceptor::Close() { impl_->Close(); }

}  // namespace bulla
