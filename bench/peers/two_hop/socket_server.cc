// The signer of the peer that speaks frames over a Unix socket.

#include <csignal>
#include <memory>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/write.hpp>

#include "bench/peers/two_hop/frames.h"
#include "bench/peers/two_hop/run_threads.h"
#include "bench/peers/two_hop/signer_server.h"

namespace peers {
namespace {

namespace asio = boost::asio;
using Local = asio::local::stream_protocol;
using boost::system::error_code;

// One connection: a request, its answer, and again. Lives as long as its operations.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Local::socket socket, KeyRing& keys) : socket_(std::move(socket)), keys_(keys) {}

  void Read() {
    asio::async_read(socket_, asio::buffer(request_),
                     [self = shared_from_this()](error_code error, std::size_t) {
                       if (!error) self->AnswerIt();
                     });
  }

 private:
  void AnswerIt() {
    reply_ = Answer(keys_, request_);
    asio::async_write(socket_, asio::buffer(reply_),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (!error) self->Read();
                      });
  }

  Local::socket socket_;
  KeyRing& keys_;
  RequestFrame request_{};
  ReplyFrame reply_{};
};

void Accept(Local::acceptor& acceptor, KeyRing& keys) {
  acceptor.async_accept([&acceptor, &keys](error_code error, Local::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (!error) std::make_shared<Session>(std::move(socket), keys)->Read();
    Accept(acceptor, keys);
  });
}

}  // namespace

void ServeSocketBlocking(const std::string& socket_path, KeyRing& keys,
                         const std::function<void()>& ready) {
  asio::io_context context(ThreadsHint());
  Local::acceptor acceptor(context, Local::endpoint(socket_path));
  Accept(acceptor, keys);
  asio::signal_set signals(context, SIGTERM, SIGINT);
  signals.async_wait([&context](error_code, int) { context.stop(); });
  ready();
  RunThreadsBlocking(context);
}

}  // namespace peers
