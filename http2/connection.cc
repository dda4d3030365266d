#include "http2/connection.h"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <sys/socket.h>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include "http2/limits.h"

namespace bulla::http2 {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

absl::Status Lost(const error_code& error) {
  if (error == asio::error::eof)
    return absl::UnavailableError("the peer has closed the connection");
  return absl::UnavailableError(fmt::format("the connection is lost: {}", error.message()));
}

}  // namespace

std::shared_ptr<Connection> Connection::Start(asio::io_context& io, UniqueFd fd, const Clock& clock,
                                              const Session::Options& options,
                                              std::unique_ptr<Protocol> protocol) {
  std::shared_ptr<Connection> connection(new Connection(io, clock, options, std::move(protocol)));
  connection->OpenDoor();
  if (absl::Status taken = connection->Take(std::move(fd)); !taken.ok()) {
    connection->Close(std::move(taken));
  } else {
    connection->ReadMore();
    connection->TurnSoon();
  }
  return connection;
}

Connection::Connection(asio::io_context& io, const Clock& clock, const Session::Options& options,
                       std::unique_ptr<Protocol> protocol)
    : io_(io),
      clock_(clock),
      socket_(io),
      timer_(io),
      protocol_(std::move(protocol)),
      session_(
          options, *protocol_, [this] { TurnSoon(); }, clock.Now()) {}

Connection::~Connection() { ShutDoor(); }

// The post is made under the lock: whoever has shut the door knows that nobody is at work on the
// loop any more.
void Connection::OpenDoor() {
  {
    MutexLock lock(door_->mutex);
    door_->io = &io_;
  }
  protocol_->Attach(session_,
                    [door = door_, weak = weak_from_this()](std::function<void()> function) {
                      MutexLock lock(door->mutex);
                      if (door->io == nullptr) return;
                      asio::post(*door->io, [weak, function = std::move(function)] {
                        const std::shared_ptr<Connection> self = weak.lock();
                        if (self != nullptr && !self->closed_) function();
                      });
                    });
}

void Connection::ShutDoor() {
  MutexLock lock(door_->mutex);
  door_->io = nullptr;
}

absl::Status Connection::Take(UniqueFd fd) {
  sockaddr_storage local{};
  socklen_t size = sizeof local;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&local), &size);
  error_code error;
  socket_.assign(asio::generic::stream_protocol(local.ss_family, 0), fd.get(), error);
  if (error) return Lost(error);
  fd.Release();
  socket_.non_blocking(true, error);
  return error ? Lost(error) : absl::OkStatus();
}

void Connection::Close(absl::Status reason) {
  if (closed_ || closing_) return;
  session_.Terminate(ErrorCode::kNoError, reason);
  closing_ = std::move(reason);
  TurnSoon();
}

void Connection::TurnSoon() {
  if (closed_ || std::exchange(turn_posted_, true)) return;
  asio::post(io_, [self = shared_from_this()] {
    self->turn_posted_ = false;
    self->Turn();
  });
}

void Connection::Turn() {
  if (closed_) return;
  const MonotonicTime now = clock_.Now();
  MonotonicTime due = std::min(session_.Tick(now), protocol_->Tick(now));
  Send();
  if (closed_) return;
  if (closing_) return End(*closing_);  // nobody waits for a peer that does not take it
  if (unsent() > 0) {
    if (now >= unsent_since_ + limits::kUnsentTimeout) {
      return End(absl::UnavailableError("the peer does not take what it is sent"));
    }
    due = std::min(due, unsent_since_ + limits::kUnsentTimeout);
  } else if (session_.over()) {
    return End(session_.reason());
  }
  ReadMore();
  Arm(due);
}

void Connection::Send() {
  if (awaits_writable_) return;
  if (unsent() == 0) session_.Gather(out_, limits::kGatherBytesMax, clock_.Now());
  while (unsent() > 0) {
    error_code error;
    const std::size_t part = std::min(unsent(), limits::kSendBytesMax);
    const std::size_t sent = socket_.write_some(asio::buffer(out_.data() + out_sent_, part), error);
    if (error == asio::error::would_block) return AwaitWritable();
    if (error) return End(Lost(error));
    out_sent_ += sent;
  }
  out_.clear();
  out_sent_ = 0;
  if (out_.capacity() > limits::kUnsentBytesMax) out_.shrink_to_fit();
  if (session_.wants_output()) TurnSoon();
}

void Connection::AwaitWritable() {
  awaits_writable_ = true;
  unsent_since_ = clock_.Now();
  socket_.async_wait(Socket::wait_write, [self = shared_from_this()](const error_code& error) {
    self->awaits_writable_ = false;
    if (self->closed_) return;
    if (error) return self->End(Lost(error));
    self->Turn();
  });
}

// Unless the peer does not read: then it is not listened to. Turn() looks again when it does.
void Connection::ReadMore() {
  if (awaits_writable_ && unsent() + session_.memory_bytes() > limits::kUnsentBytesMax) return;
  if (std::exchange(reading_, true)) return;
  socket_.async_read_some(asio::buffer(in_),
                          [self = shared_from_this()](const error_code& error, std::size_t size) {
                            self->OnRead(error, size);
                          });
}

void Connection::OnRead(const error_code& error, std::size_t size) {
  reading_ = false;
  if (closed_) return;
  if (error) return End(Lost(error));
  session_.Feed(ByteSpan(in_).first(size), clock_.Now());
  ReadMore();
  TurnSoon();
}

void Connection::Arm(MonotonicTime due) {
  if (due >= armed_) return;
  armed_ = due;
  timer_.expires_at(due);
  timer_.async_wait([self = shared_from_this()](const error_code& error) {
    if (error || self->closed_) return;
    self->armed_ = MonotonicTime::max();
    self->Turn();
  });
}

void Connection::End(const absl::Status& reason) {
  if (std::exchange(closed_, true)) return;
  ShutDoor();
  error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
  session_.Terminate(ErrorCode::kNoError, reason);  // whoever opens a stream is told
  protocol_->OnOver(closing_.value_or(reason));
}

}  // namespace bulla::http2
