#include "gateway/http/connection.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string_view>
#include <utility>

#include <boost/asio/buffer.hpp>

#include "gateway/frontend/limits.h"
#include "gateway/frontend/proxy_protocol.h"
#include "gateway/frontend/tcp_listen.h"
#include "gateway/http/answer.h"
#include "gateway/http/shared.h"
#include "gateway/http/worker.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kReadBytes = 4096;  // holds any sign request; grows for what is larger
constexpr std::size_t kReadBytesMax = 2 * limits::kHttpHeaderBytesMax;

IpAddress PeerOf(const tcp::socket& socket) {
  error_code ec;
  const tcp::endpoint peer = socket.remote_endpoint(ec);
  return ec ? IpAddress{} : ToIpAddress(peer);  // it is gone already
}

}  // namespace

HttpConnection::HttpConnection(HttpWorker& worker, tcp::socket socket)
    : worker_(worker),
      place_(*this),
      socket_(std::move(socket)),
      address_(PeerOf(socket_)),
      reader_(worker.shared().options.body_bytes_max),
      exchange_(worker, *this),
      in_(kReadBytes) {
  client_.emplace(worker.shared().clients, ClientOf(address_));
}

HttpConnection::~HttpConnection() {
  worker_.places().Leave(place_);
  HttpShared& shared = worker_.shared();
  shared.request_pool.Return(in_pool_bytes_);
  shared.request_pool.Return(body_pool_bytes_);
  shared.answer_pool.Return(answer_pool_bytes_);
}

void HttpConnection::Start() {
  if (seat == Seat::kTurnedAway) {
    RefuseRequest(Refuse(ErrorCode::kRetryLater, ""));
    return DeleteIfDone();
  }
  const HttpServer::Options& options = worker_.shared().options;
  worker_.places().Enter(place_, ClientOf(address_));
  awaits_proxy_header_ = options.proxy_protocol && options.forwarded.proxies.Has(address_);
  WaitFor(awaits_proxy_header_ ? options.timeouts.header : options.timeouts.idle);
  if (worker_.draining()) OnDrain();
  if (phase_ == Phase::kReading) ReadMore();
}

void HttpConnection::Advance() {
  if (awaits_proxy_header_ && phase_ == Phase::kReading && !TakeProxyHeader()) return;
  while (phase_ == Phase::kReading) {
    std::size_t used = reader_.Consume({in_.data() + in_begin_, in_end_ - in_begin_});
    in_begin_ += used;
    if (reader_.state() == HttpRequestReader::State::kRefused) {
      return RefuseRequest(reader_.refusal());
    }
    if (!AccountBody()) return RefuseRequest(Refuse(ErrorCode::kRetryLater, ""));
    if (reader_.state() < HttpRequestReader::State::kDone) {
      NoteRequestPhase();
      if (HttpRefusal refusal = SendContinue(); refusal.any()) return RefuseRequest(refusal);
      return ReadMore();
    }
    if (!Serve()) return;
    if (!WriteAnswer() || !FinishRequest()) return;
  }
}

// True: the answer is there. False: it comes later, through OnCallDone or OnKey.
bool HttpConnection::Serve() {
  phase_ = Phase::kWorking;
  worker_.places().Works(place_);
  deadline_ = MonotonicTime::max();  // the service answers by the call's own deadline
  close_after_ = !reader_.keep_alive();
  FindClient();
  return exchange_.Serve(reader_.request(), read_at_);
}

// Whom the request is from, where the peer is a proxy that says so.
void HttpConnection::FindClient() {
  behind_proxy_.reset();
  const ForwardedRules& rules = worker_.shared().options.forwarded;
  if (!rules.Apply(address_)) return;
  const HttpRequest& request = reader_.request();
  const std::string& field =
      rules.field == ForwardedField::kForwarded ? request.forwarded : request.x_forwarded_for;
  if (field.empty()) return;
  behind_proxy_.emplace(worker_.shared().clients, ClientOf(ClientBehind(address_, field, rules)));
}

// Answers a request without the service, read to its end or not, and nothing after it.
void HttpConnection::RefuseRequest(const HttpRefusal& refusal) {
  phase_ = Phase::kWorking;
  close_after_ = true;
  exchange_.ServeRefusal(reader_.request(), refusal);
  if (WriteAnswer()) FinishRequest();
}

void HttpConnection::OnCallDone(const HttpSignCall& call) {
  if (exchange_.TakeBack() && phase_ == Phase::kWorking) {
    exchange_.AnswerSigned(call);
    if (WriteAnswer() && FinishRequest()) Advance();
  }
  DeleteIfDone();
}

void HttpConnection::OnKey(const Error& error, const KeyRow& key) {
  if (exchange_.TakeBack() && phase_ == Phase::kWorking) {
    exchange_.AnswerKey(error, key);
    if (WriteAnswer() && FinishRequest()) Advance();
  }
  DeleteIfDone();
}

// ---- Reading ---------------------------------------------------------------------------------

void HttpConnection::ReadMore() {
  if (in_begin_ == in_end_) {
    in_begin_ = in_end_ = 0;
  } else if (in_begin_ > 0) {
    std::memmove(in_.data(), in_.data() + in_begin_, in_end_ - in_begin_);
    in_end_ -= in_begin_;
    in_begin_ = 0;
  }
  if (in_end_ == in_.size()) {
    // The reader refuses a header over the limit before this; what is left is a monstrous chunk
    // header.
    if (in_.size() >= kReadBytesMax) return Close();
    if (!worker_.shared().request_pool.Take(in_.size(), in_pool_bytes_)) {
      return RefuseRequest(Refuse(ErrorCode::kRetryLater, ""));
    }
    in_.resize(2 * in_.size());
  }
  ++outstanding_;
  socket_.async_read_some(asio::buffer(in_.data() + in_end_, in_.size() - in_end_),
                          [this](const error_code& ec, std::size_t bytes) { OnRead(ec, bytes); });
}

void HttpConnection::OnRead(const error_code& ec, std::size_t bytes) {
  --outstanding_;
  if (phase_ == Phase::kLingering) {
    lingered_bytes_ += bytes;
    in_begin_ = in_end_ = 0;
    if (ec || lingered_bytes_ > limits::kHttpLingerBytesMax) {
      Close();
    } else {
      ReadMore();
    }
  } else if (phase_ == Phase::kReading) {
    read_at_ = worker_.Now();
    in_end_ += bytes;
    if (!ec) {
      Advance();
    } else {
      if (ec == asio::error::eof) reader_.ConsumeEnd();
      if (reader_.state() == HttpRequestReader::State::kRefused) {
        RefuseRequest(reader_.refusal());
      } else {
        Close();
      }
    }
  }
  DeleteIfDone();
}

// False: more of it is awaited, or the connection is closed, since it is none.
bool HttpConnection::TakeProxyHeader() {
  const ProxyHeader header = ParseProxyHeader({in_.data() + in_begin_, in_end_ - in_begin_});
  switch (header.state) {
    case ProxyHeader::State::kMore:
      ReadMore();
      return false;
    case ProxyHeader::State::kMalformed:
      Close();
      return false;
    case ProxyHeader::State::kDone:
      break;
  }
  awaits_proxy_header_ = false;
  in_begin_ += header.bytes;
  WaitFor(worker_.shared().options.timeouts.idle);
  if (!header.source) return true;
  address_ = *header.source;
  client_.emplace(worker_.shared().clients, ClientOf(address_));
  worker_.places().Leave(place_);
  worker_.places().Enter(place_, ClientOf(address_));
  return true;
}

// Sets the deadline that goes with how far the request has come.
void HttpConnection::NoteRequestPhase() {
  using State = HttpRequestReader::State;
  State state = reader_.state();
  if (state == noted_state_) return;
  noted_state_ = state;
  const HttpTimeouts& timeouts = worker_.shared().options.timeouts;
  if (state == State::kHeader) WaitFor(timeouts.header);
  if (state == State::kBody) WaitFor(timeouts.body);
}

// A caller who waits to be told before he sends the body is told, unless the header says already
// that it would be refused (RFC 9110, section 10.1.1).
HttpRefusal HttpConnection::SendContinue() {
  if (reader_.state() != HttpRequestReader::State::kBody || sent_continue_ ||
      !reader_.request().expects_continue) {
    return {};
  }
  sent_continue_ = true;
  HttpRefusal refusal = exchange_.CheckHeader(reader_.request());
  if (refusal.any()) return refusal;
  error_code ec;
  // 25 bytes into an empty send buffer. Should they not fit, the caller sends after a wait anyway.
  socket_.write_some(asio::buffer(kHttpContinue.data(), kHttpContinue.size()), ec);
  return {};
}

// What a body has beyond the ordinary comes out of the pool. False when that is used up.
bool HttpConnection::AccountBody() {
  std::size_t size = reader_.request().body.size();
  if (size <= kHttpKeptBytesMax + body_pool_bytes_) return true;
  std::size_t more = size - kHttpKeptBytesMax - body_pool_bytes_;
  return worker_.shared().request_pool.Take(more, body_pool_bytes_);
}

// ---- Writing ---------------------------------------------------------------------------------

bool HttpConnection::WriteAnswer() {
  phase_ = Phase::kWriting;
  if (worker_.draining() && !MoreHasArrived()) close_after_ = true;
  AppendAnswer(exchange_.answer(), reader_.request(), worker_.HttpDate(), close_after_, out_);
  // A caller who does not take his answer holds nothing but that.
  exchange_.Reset();
  reader_.Reset();
  worker_.shared().request_pool.Return(body_pool_bytes_);
  return WriteRest();
}

// Whether part of another request waits, here or in the kernel: then the drain is not over yet.
bool HttpConnection::MoreHasArrived() {
  error_code ec;
  return in_begin_ < in_end_ || socket_.available(ec) > 0;
}

bool HttpConnection::WriteRest() {
  while (out_sent_ < out_.size()) {
    error_code ec;
    out_sent_ +=
        socket_.write_some(asio::buffer(out_.data() + out_sent_, out_.size() - out_sent_), ec);
    if (ec == asio::error::would_block) {
      AwaitWritable();
      return false;
    }
    if (ec) {
      Close();
      return false;
    }
  }
  return true;
}

// The kernel's buffer is full. The deadline is the whole answer's: a caller who takes a little now
// and then does not move it.
void HttpConnection::AwaitWritable() {
  HttpShared& shared = worker_.shared();
  if (answer_pool_bytes_ == 0) {
    if (!shared.answer_pool.Take(out_.capacity(), answer_pool_bytes_)) return Close();
    WaitFor(shared.options.timeouts.write);
  }
  ++outstanding_;
  socket_.async_wait(tcp::socket::wait_write, [this](const error_code& ec) { OnWritable(ec); });
}

void HttpConnection::OnWritable(const error_code& ec) {
  --outstanding_;
  if (phase_ == Phase::kWriting) {
    if (ec) {
      Close();
    } else if (WriteRest() && FinishRequest()) {
      Advance();
    }
  }
  DeleteIfDone();
}

// Ready for the next request: true. False when this was the last.
bool HttpConnection::FinishRequest() {
  out_.clear();
  out_sent_ = 0;
  if (out_.capacity() > kHttpKeptBytesMax) out_.shrink_to_fit();
  worker_.shared().answer_pool.Return(answer_pool_bytes_);
  if (close_after_) {
    Linger();
    return false;
  }
  if (in_.size() > kReadBytes && in_begin_ == in_end_) {
    in_ = std::vector<char>(kReadBytes);
    in_begin_ = in_end_ = 0;
    worker_.shared().request_pool.Return(in_pool_bytes_);
  }
  noted_state_ = HttpRequestReader::State::kIdle;
  sent_continue_ = false;
  phase_ = Phase::kReading;
  worker_.places().Waits(place_);
  WaitFor(worker_.shared().options.timeouts.idle);
  if (worker_.draining()) OnDrain();
  return true;
}

// ---- Time and the end ------------------------------------------------------------------------

void HttpConnection::WaitFor(const Hot<std::chrono::milliseconds>& timeout) {
  timeout_ = &timeout;
  waits_since_ = worker_.Now();
  deadline_ = MonotonicTime::max();
}

void HttpConnection::OnTick(MonotonicTime now) {
  if (now < deadline_ && (timeout_ == nullptr || now < waits_since_ + timeout_->Get())) return;
  if (phase_ == Phase::kReading && reader_.state() != HttpRequestReader::State::kIdle) {
    // A read is outstanding and stays so: what it brings is dropped while lingering.
    RefuseRequest(Refuse(408, ErrorCode::kInvalidArgument, "request: not complete in time"));
  } else if (phase_ != Phase::kWorking) {
    Close();
  }
  DeleteIfDone();
}

void HttpConnection::OnDrain() {
  if (phase_ != Phase::kReading || reader_.state() != HttpRequestReader::State::kIdle) return;
  deadline_ = std::min(deadline_, worker_.Now() + limits::kHttpDrainGrace);
}

void HttpConnection::OnGiveUpPlace() {
  seat = Seat::kGivenUp;
  OnStop();
}

void HttpConnection::OnStop() {
  if (phase_ != Phase::kClosed) Close();
  DeleteIfDone();
}

// Says that nothing more will come, and drops what still arrives until the other side closes too.
void HttpConnection::Linger() {
  error_code ec;
  socket_.shutdown(tcp::socket::shutdown_send, ec);
  if (ec) return Close();
  phase_ = Phase::kLingering;
  worker_.places().Waits(place_);
  timeout_ = nullptr;
  deadline_ = worker_.Now() + limits::kHttpLingerTimeout;
  in_begin_ = in_end_ = 0;
  ReadMore();
}

void HttpConnection::Close() {
  phase_ = Phase::kClosed;
  worker_.places().Leave(place_);
  error_code ec;
  socket_.close(ec);
}

void HttpConnection::DeleteIfDone() {
  if (phase_ != Phase::kClosed || outstanding_ > 0 || exchange_.calls_out() > 0) return;
  worker_.Remove(this);
}

}  // namespace bulla
