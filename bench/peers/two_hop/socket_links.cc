// The links over a Unix socket: a connection for each call, or one that calls take in turn.

#include <deque>

#include <boost/asio/connect.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>

#include "bench/peers/two_hop/frames.h"
#include "bench/peers/two_hop/link.h"

namespace peers {
namespace {

namespace asio = boost::asio;
using Local = asio::local::stream_protocol;
using boost::system::error_code;
using OnReply = std::function<void(const ReplyFrame&)>;  // all zero when the signer is not there

// What both have in common: calls as frames.
class FrameLink : public Link {
 public:
  void Create(OnCreated done) override {
    Call(CreateRequestFrame(),
         [done = std::move(done)](const ReplyFrame& reply) { done(ReadCreated(reply)); });
  }
  void Sign(const bulla::KeyId& id, const bulla::Digest32& digest, OnSigned done) override {
    Call(SignRequestFrame(id, digest),
         [done = std::move(done)](const ReplyFrame& reply) { done(ReadSigned(reply)); });
  }

 private:
  virtual void Call(const RequestFrame& request, OnReply done) = 0;
};

// One call on a connection of its own; lives as long as its operations.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(asio::io_context& context, const RequestFrame& request, OnReply done)
      : socket_(context), request_(request), done_(std::move(done)) {}

  void Start(const Local::endpoint& signer) {
    socket_.async_connect(signer, [self = shared_from_this()](error_code error) {
      if (error) return self->done_({});
      self->Write();
    });
  }

 private:
  void Write() {
    asio::async_write(socket_, asio::buffer(request_),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (error) return self->done_({});
                        self->Read();
                      });
  }
  void Read() {
    asio::async_read(socket_, asio::buffer(reply_),
                     [self = shared_from_this()](error_code error, std::size_t) {
                       self->done_(error ? ReplyFrame{} : self->reply_);
                     });
  }

  Local::socket socket_;
  const RequestFrame request_;
  ReplyFrame reply_{};
  const OnReply done_;
};

class PerRequestLink final : public FrameLink {
 public:
  PerRequestLink(asio::io_context& context, std::string path)
      : context_(context), signer_(std::move(path)) {}

 private:
  void Call(const RequestFrame& request, OnReply done) override {
    std::make_shared<Exchange>(context_, request, std::move(done))->Start(signer_);
  }

  asio::io_context& context_;
  const Local::endpoint signer_;
};

class SharedLink final : public FrameLink {
 public:
  SharedLink(asio::io_context& context, const std::string& path)
      : strand_(asio::make_strand(context)), socket_(strand_) {
    socket_.connect(Local::endpoint(path));
  }

 private:
  struct Waiting {
    RequestFrame request;
    OnReply done;
  };

  void Call(const RequestFrame& request, OnReply done) override {
    asio::dispatch(strand_, [this, request, done = std::move(done)]() mutable {
      line_.push_back({request, std::move(done)});
      if (line_.size() == 1) Write();
    });
  }
  void Write() {
    asio::async_write(socket_, asio::buffer(line_.front().request),
                      [this](error_code error, std::size_t) {
                        if (error) return Finish({});
                        Read();
                      });
  }
  void Read() {
    asio::async_read(socket_, asio::buffer(reply_), [this](error_code error, std::size_t) {
      Finish(error ? ReplyFrame{} : reply_);
    });
  }
  void Finish(const ReplyFrame& reply) {
    OnReply done = std::move(line_.front().done);
    line_.pop_front();
    // The next request leaves first: the signer works while this answer goes back.
    ReplyFrame answer = reply;
    if (!line_.empty()) Write();
    done(answer);
  }

  // All below is used on the strand alone.
  asio::strand<asio::io_context::executor_type> strand_;
  Local::socket socket_;
  std::deque<Waiting> line_;  // the first has the connection
  ReplyFrame reply_{};
};

}  // namespace

std::unique_ptr<Link> MakePerRequestLink(asio::io_context& context, std::string socket_path) {
  return std::make_unique<PerRequestLink>(context, std::move(socket_path));
}

std::unique_ptr<Link> MakeSharedLink(asio::io_context& context, const std::string& socket_path) {
  return std::make_unique<SharedLink>(context, socket_path);
}

}  // namespace peers
