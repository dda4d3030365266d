#include "gateway/http/worker.h"

#include <fmt/format.h>
#include <utility>

#include <boost/asio/post.hpp>

#include "base/thread.h"
#include "gateway/call/call_list.h"
#include "gateway/frontend/limits.h"
#include "gateway/frontend/tcp_listen.h"
#include "gateway/http/answer.h"
#include "gateway/http/connection.h"
#include "gateway/http/exchange.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// How often deadlines are looked at and tallies passed on. Deadlines here are in seconds.
constexpr std::chrono::milliseconds kTick{100};

}  // namespace

HttpWorker::HttpWorker(HttpShared& shared, std::size_t index)
    : shared_(shared),
      index_(index),
      ticker_(io_),
      parse_latency_(shared.metrics.parse_latency()),
      total_latency_(shared.metrics.total_latency()) {}

absl::Status HttpWorker::Listen(const tcp::endpoint& endpoint) {
  BULLA_ASSIGN_OR_RETURN(tcp::acceptor listener, ListenOn(io_, endpoint, /*share=*/true));
  endpoint_ = listener.local_endpoint();
  address_ = AddressOf(listener);
  acceptor_.emplace(io_.get_executor(), UniqueFd(listener.release()),
                    Acceptor::Options{.name = "http", .on_pause = shared_.on_accept_pause},
                    [this](UniqueFd fd) { TakeAccepted(std::move(fd)); });
  return absl::OkStatus();
}

void HttpWorker::StartThread() {
  work_.emplace(io_.get_executor());
  acceptor_->Start();
  StartTicker();
  thread_ = std::thread([this] {
    SetThreadName(fmt::format("http-{}", index_));
    io_.run();
  });
}

void HttpWorker::TakeAccepted(UniqueFd fd) {
  if (stopping_) return;  // accepted just before; nobody would close it any more
  error_code ec;
  tcp::socket socket(io_);
  if (socket.assign(endpoint_.protocol(), fd.get(), ec)) return;
  fd.Release();
  socket.non_blocking(true, ec);
  socket.set_option(tcp::no_delay(true), ec);
  bool welcome = TakePlace(shared_.connections, shared_.options.connections_max);
  if (HttpConnection* other = welcome ? nullptr : places_.ToGiveUp(); other != nullptr) {
    shared_.places_given_up.Increment();
    other->OnGiveUpPlace();
    welcome = true;
  }
  if (!welcome && !TakePlace(shared_.turned_away, limits::kHttpTurnedAwayMax)) {
    static constexpr std::string_view kFull =
        "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\n"
        "Content-Length: 0\r\n\r\n";
    socket.write_some(asio::buffer(kFull.data(), kFull.size()), ec);
    shared_.metrics.Count(FrontendMethod::kOther, ErrorCode::kRetryLater);
    return;
  }
  auto* connection = new HttpConnection(*this, std::move(socket));
  connection->index = connections_.size();
  if (!welcome) connection->seat = HttpConnection::Seat::kTurnedAway;
  connections_.push_back(connection);
  connection->Start();
}

void HttpWorker::Remove(HttpConnection* connection) {
  connections_[connection->index] = connections_.back();
  connections_[connection->index]->index = connection->index;
  connections_.pop_back();
  if (connection->seat == HttpConnection::Seat::kTaken) shared_.connections.fetch_sub(1);
  if (connection->seat == HttpConnection::Seat::kTurnedAway) shared_.turned_away.fetch_sub(1);
  delete connection;
  TellIfEmpty();
}

void HttpWorker::StartTicker() {
  ticker_.expires_after(kTick);
  ticker_.async_wait([this](const error_code& ec) {
    // A timer that has expired already cannot be cancelled any more: stopping shows in work_.
    if (ec || !work_) return;
    Tick();
    StartTicker();
  });
}

void HttpWorker::Tick() {
  parse_latency_.Flush();
  total_latency_.Flush();
  MonotonicTime now = Now();
  // Backwards: one that deletes itself is replaced by one that was looked at already.
  for (std::size_t i = connections_.size(); i-- > 0;) connections_[i]->OnTick(now);
}

// Requests that arrived together leave together: what this turn of the loop parses is gathered, and
// the posted flush runs after it.
void HttpWorker::Submit(HttpSignCall* call) {
  call->sink = this;
  gathered_.Append(call);
  if (submit_posted_) return;
  submit_posted_ = true;
  asio::post(io_, [this] { SubmitGathered(); });
}

void HttpWorker::SubmitGathered() {
  submit_posted_ = false;
  const CallList calls = std::exchange(gathered_, {});
  if (!calls.empty()) shared_.service.Sign(calls.first());
}

// The post is made under the lock so that nobody can find the call, finish with it and destroy this
// object while post() is still at work on io_.
void HttpWorker::Wake() {
  if (wake_posted_) return;
  wake_posted_ = true;
  asio::post(io_, [this] { TakeDelivered(); });
}

void HttpWorker::Complete(SignCall* first) {
  SignCall* last = first;
  while (last->next != nullptr) last = last->next;
  MutexLock lock(mutex_);
  last->next = delivered_;
  delivered_ = first;
  Wake();
}

void HttpWorker::CompleteKey(HttpKeyAnswer answer) {
  MutexLock lock(mutex_);
  key_answers_.push_back(std::move(answer));
  Wake();
}

void HttpWorker::TakeDelivered() {
  SignCall* call = nullptr;
  std::vector<HttpKeyAnswer> answers;
  {
    MutexLock lock(mutex_);
    wake_posted_ = false;
    call = std::exchange(delivered_, nullptr);
    answers.swap(key_answers_);
  }
  while (call != nullptr) {
    auto* done = static_cast<HttpSignCall*>(PopFirst(call));
    done->connection->OnCallDone(*done);
  }
  for (const HttpKeyAnswer& answer : answers) answer.connection->OnKey(answer.error, answer.key);
}

void HttpWorker::BeginDrain() {
  asio::post(io_, [this] {
    if (draining_) return;
    draining_ = true;
    // The kernel has completed connections that wait to be accepted; their callers believe that
    // they are connected, so they are served too.
    acceptor_->TakeWaiting();
    acceptor_->Close();
    for (std::size_t i = connections_.size(); i-- > 0;) connections_[i]->OnDrain();
    TellIfEmpty();
  });
}

void HttpWorker::TellIfEmpty() {
  if (!draining_ || !connections_.empty()) return;
  MutexLock lock(mutex_);
  empty_ = true;
  empty_changed_.NotifyAll();
  if (stopping_) {
    ticker_.cancel();
    work_.reset();
  }
}

bool HttpWorker::WaitUntilEmpty(Duration timeout) {
  MutexLock lock(mutex_);
  return empty_changed_.WaitFor(mutex_, timeout,
                                [this]() BULLA_REQUIRES(mutex_) { return empty_; });
}

void HttpWorker::StopBlocking() {
  if (!thread_.joinable()) return;
  asio::post(io_, [this] {
    stopping_ = true;
    if (!draining_) {
      draining_ = true;
      acceptor_->Close();
    }
    for (std::size_t i = connections_.size(); i-- > 0;) connections_[i]->OnStop();
    TellIfEmpty();
  });
  thread_.join();
  MutexLock lock(mutex_);  // whoever woke the loop last has left Wake()
}

std::string_view HttpWorker::HttpDate() {
  const WallTime now = shared_.clock.WallNow();
  if (std::int64_t second = UnixMillis(now) / 1000; second != date_second_) {
    date_second_ = second;
    date_ = FormatHttpDate(now);
  }
  return date_;
}

}  // namespace bulla
