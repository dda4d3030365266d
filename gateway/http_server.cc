#include "gateway/http_server.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cstring>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <optional>
#include <sys/socket.h>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <pthread.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/random.h"
#include "gateway/call_rules.h"
#include "gateway/face_metrics.h"
#include "gateway/http_json.h"
#include "gateway/http_request.h"
#include "gateway/request_id.h"
#include "gateway/tcp_listen.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// How often deadlines are looked at and tallies passed on. Deadlines here are in seconds.
constexpr std::chrono::milliseconds kTick{100};
constexpr std::size_t kReadBytes = 4096;  // holds any sign request; grows for what is larger
constexpr std::size_t kReadBytesMax = 2 * limits::kHttpHeaderBytesMax;
constexpr std::size_t kKeptBytesMax = 64 * 1024;  // what a connection may keep between requests

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 429:
      return "Too Many Requests";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

// "application/json", with at most a charset of UTF-8 (RFC 8259 knows no other).
bool IsJsonContentType(std::string_view value) {
  std::string text;
  for (char c : value) {
    if (c != ' ' && c != '\t' && c != '"') {
      text.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    }
  }
  return text == "application/json" || text == "application/json;charset=utf-8";
}

struct Route {
  FaceMethod method;
  std::string_view allow;
  std::string_view key_id;  // of GET /keys/{keyId}
};

std::optional<Route> FindRoute(std::string_view path) {
  constexpr std::string_view kKeys = "/keys/";
  if (path == "/sign") return Route{FaceMethod::kSign, "POST", {}};
  if (path == "/sign/batch") return Route{FaceMethod::kBatch, "POST", {}};
  if (path == "/create") return Route{FaceMethod::kCreate, "POST", {}};
  if (path.starts_with(kKeys)) {
    return Route{FaceMethod::kGetKey, "GET", path.substr(kKeys.size())};
  }
  return std::nullopt;
}

class Connection;

// One signature under way for a connection.
struct HttpSignCall final : SignCall {
  Connection* connection = nullptr;
  bool der = false;
};

// A create or a look-up that is answered: on its way from the service's thread to ours.
struct KeyAnswer {
  Connection* connection;
  Error error;
  KeyRow key;
};

// What the threads share.
struct Shared {
  Shared(HttpServer::Options o, SignerService& s, Metrics& m, const Clock& c)
      : options(std::move(o)), service(s), clock(c), metrics(m, "http") {}

  const HttpServer::Options options;
  SignerService& service;
  const Clock& clock;
  FaceMetrics metrics;
  std::atomic<std::size_t> connections{0};      // against connections_max
  std::atomic<std::size_t> body_pool_bytes{0};  // against limits::kHttpBodyPoolBytes
};

// One I/O thread: its event loop, listening socket and connections. Confined to that thread, but
// for Deliver and DeliverKey (any thread) and the functions that say otherwise.
class Worker final : public CallHome {
 public:
  Worker(Shared& shared, std::size_t index)
      : shared_(shared),
        index_(index),
        ticker_(io_),
        parse_latency_(shared.metrics.parse_latency()),
        total_latency_(shared.metrics.total_latency()) {}

  // From the starting thread.
  absl::Status Listen(const tcp::endpoint& endpoint);
  tcp::endpoint endpoint() const { return acceptor_->local_endpoint(); }
  std::string address() const { return AddressOf(*acceptor_); }
  void StartThread();
  // From the stopping thread.
  void BeginDrain();
  bool WaitUntilEmpty(Duration timeout);
  void StopBlocking();

  // CallHome.
  void Deliver(SignCall* first) override;
  void DeliverKey(KeyAnswer answer);

  // For connections.
  Shared& shared() { return shared_; }
  RequestIdSource& ids() { return ids_; }
  bool draining() const { return draining_; }
  MonotonicTime Now() const { return shared_.clock.Now(); }
  // False when the calls would be more than this thread may have in flight.
  bool Admit(std::size_t calls);
  void Submit(HttpSignCall* call);
  void Remove(Connection* connection);
  std::string_view HttpDate();
  LatencyTally& parse_latency() { return parse_latency_; }
  LatencyTally& total_latency() { return total_latency_; }
  std::uint64_t NextJitter() { return jitter_state_ = jitter_state_ * 6364136223846793005u + 1; }

 private:
  void Accept();
  void TakeAccepted(tcp::socket socket);
  void AcceptRestAndClose();
  void StartTicker();
  void Tick();
  void SubmitGathered();
  void TakeDelivered();
  void Wake() BULLA_REQUIRES(mutex_);
  void TellIfEmpty();

  Shared& shared_;
  const std::size_t index_;
  asio::io_context io_{1};
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
  std::thread thread_;

  // Confined to the I/O thread.
  std::optional<tcp::acceptor> acceptor_;
  asio::steady_timer ticker_;
  std::vector<Connection*> connections_;  // owned; each knows its place
  RequestIdSource ids_;
  SignCall* gathered_ = nullptr;  // parsed in this turn of the loop, not yet submitted
  bool submit_posted_ = false;
  std::size_t calls_in_flight_ = 0;
  bool draining_ = false;
  bool stopping_ = false;
  bool accept_paused_ = false;  // out of descriptors; the next tick tries again
  LatencyTally parse_latency_;
  LatencyTally total_latency_;
  std::int64_t date_second_ = -1;
  std::string date_;
  std::uint64_t jitter_state_ = RandomUint64() | 1;

  Mutex mutex_;
  CondVar empty_changed_;
  SignCall* delivered_ BULLA_GUARDED_BY(mutex_) = nullptr;
  std::vector<KeyAnswer> key_answers_ BULLA_GUARDED_BY(mutex_);
  bool wake_posted_ BULLA_GUARDED_BY(mutex_) = false;
  bool empty_ BULLA_GUARDED_BY(mutex_) = false;  // drained: no listener, no connection
};

// One connection. It is always in one phase: reading a request, working (the service has it),
// writing the answer, or lingering before it closes. It deletes itself when it is closed and
// nothing that refers to it is outstanding.
class Connection {
 public:
  Connection(Worker& worker, tcp::socket socket)
      : worker_(worker),
        socket_(std::move(socket)),
        reader_(worker.shared().options.body_bytes_max),
        in_(kReadBytes) {
    sign_.connection = this;
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { ReturnBodyPool(); }

  // Each of these is an entry from the event loop and may delete the connection.
  void Start();
  void OnCallDone(HttpSignCall* call);
  void OnKey(const Error& error, const KeyRow& key);
  void OnTick(MonotonicTime now);
  void OnDrain();
  void OnStop();

  std::size_t place = 0;  // in Worker::connections_

 private:
  enum class Phase { kReading, kWorking, kWriting, kLingering, kClosed };

  // The loop of a connection: takes requests out of what was read, serves them, reads more.
  void Advance();
  void ReadMore();
  void OnRead(const error_code& ec, std::size_t bytes);
  void NoteRequestPhase();
  bool AccountBody();
  void ReturnBodyPool();

  // Serving. True: the answer is composed. False: it comes later, through OnCallDone or OnKey.
  bool Serve();
  bool ServeRoute(const Route& route);
  bool ServeSign();
  bool ServeBatch();
  bool ServeCreate();
  bool ServeGetKey(std::string_view key_id);
  std::function<void(Error, const KeyRow&)> KeyDone();
  HttpRefusal CheckEnvelope(const Route& route) const;

  // Composing the answer.
  void Answer(int status, ErrorCode code, std::string_view body, std::uint32_t retry_after_ms = 0,
              std::string_view allow = {});
  void AnswerError(const HttpRefusal& refusal, std::string_view allow = {});
  bool Refused(HttpRefusal refusal, std::string_view allow = {}) {
    AnswerError(refusal, allow);
    return true;
  }
  void AnswerBatch();
  bool MoreHasArrived();

  // True: all of it is written. False: the rest follows, or the connection is closed.
  bool WriteAnswer();
  void OnWritable(const error_code& ec);
  bool FinishRequest();
  void Linger();
  void Close();
  void DeleteIfDone();

  Worker& worker_;
  tcp::socket socket_;
  HttpRequestReader reader_;
  Phase phase_ = Phase::kReading;
  MonotonicTime deadline_ = MonotonicTime::max();
  int outstanding_ = 0;  // reads, writes and calls that will come back to this object
  bool close_after_ = false;
  bool sent_continue_ = false;

  std::vector<char> in_;  // what was read and not yet taken is [in_begin_, in_end_)
  std::size_t in_begin_ = 0;
  std::size_t in_end_ = 0;
  std::string out_;
  std::size_t out_sent_ = 0;
  std::size_t body_pool_bytes_ = 0;
  std::size_t lingered_bytes_ = 0;
  HttpRequestReader::State noted_state_ = HttpRequestReader::State::kIdle;

  // The request being served.
  std::string request_id_;
  FaceMethod method_ = FaceMethod::kOther;
  MonotonicTime read_at_;
  std::string scratch_;  // its answer's body
  HttpSignCall sign_;
  std::vector<BatchItem> items_;
  std::vector<HttpSignCall> batch_;  // never resized while a call is out
  std::size_t calls_out_ = 0;
};

// ---- Worker ----------------------------------------------------------------------------------

absl::Status Worker::Listen(const tcp::endpoint& endpoint) {
  BULLA_ASSIGN_OR_RETURN(acceptor_, ListenOn(io_, endpoint, /*share=*/true));
  return absl::OkStatus();
}

void Worker::StartThread() {
  work_.emplace(io_.get_executor());
  Accept();
  StartTicker();
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), fmt::format("http-{}", index_).c_str());
    io_.run();
  });
}

void Worker::Accept() {
  acceptor_->async_accept([this](const error_code& ec, tcp::socket socket) {
    if (ec == asio::error::operation_aborted) return;
    if (ec) {
      // Most likely no descriptor is free. Trying at once would spin.
      LogWarn("http_accept_failed", {{"error", ec.message()}});
      accept_paused_ = true;
      return;
    }
    TakeAccepted(std::move(socket));
    if (!draining_) Accept();
  });
}

void Worker::TakeAccepted(tcp::socket socket) {
  if (stopping_) return;  // accepted just before; nobody would close it any more
  error_code ec;
  socket.non_blocking(true, ec);
  socket.set_option(tcp::no_delay(true), ec);
  if (shared_.connections.fetch_add(1) >= shared_.options.connections_max) {
    shared_.connections.fetch_sub(1);
    static constexpr std::string_view kFull =
        "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\n"
        "Content-Length: 0\r\n\r\n";
    socket.write_some(asio::buffer(kFull.data(), kFull.size()), ec);
    shared_.metrics.Count(FaceMethod::kOther, ErrorCode::kRetryLater);
    return;
  }
  auto* connection = new Connection(*this, std::move(socket));
  connection->place = connections_.size();
  connections_.push_back(connection);
  connection->Start();
}

void Worker::Remove(Connection* connection) {
  connections_[connection->place] = connections_.back();
  connections_[connection->place]->place = connection->place;
  connections_.pop_back();
  delete connection;
  shared_.connections.fetch_sub(1);
  TellIfEmpty();
}

void Worker::StartTicker() {
  ticker_.expires_after(kTick);
  ticker_.async_wait([this](const error_code& ec) {
    // A timer that has expired already cannot be cancelled any more: stopping shows in work_.
    if (ec || !work_) return;
    Tick();
    StartTicker();
  });
}

void Worker::Tick() {
  parse_latency_.Flush();
  total_latency_.Flush();
  if (accept_paused_ && !draining_) {
    accept_paused_ = false;
    Accept();
  }
  MonotonicTime now = Now();
  // Backwards: one that deletes itself is replaced by one that was looked at already.
  for (std::size_t i = connections_.size(); i-- > 0;) connections_[i]->OnTick(now);
}

bool Worker::Admit(std::size_t calls) {
  std::size_t share = shared_.options.calls_in_flight_max /
                      static_cast<std::size_t>(std::max(1, shared_.options.threads));
  if (calls_in_flight_ + calls > share) return false;
  calls_in_flight_ += calls;
  return true;
}

// Requests that arrived together leave together: what this turn of the loop parses is gathered, and
// the posted flush runs after it.
void Worker::Submit(HttpSignCall* call) {
  call->home = this;
  call->next = gathered_;
  gathered_ = call;
  if (submit_posted_) return;
  submit_posted_ = true;
  asio::post(io_, [this] { SubmitGathered(); });
}

void Worker::SubmitGathered() {
  submit_posted_ = false;
  SignCall* first = std::exchange(gathered_, nullptr);
  if (first != nullptr) shared_.service.Sign(first);
}

// The post is made under the lock so that nobody can find the call, finish with it and destroy this
// object while post() is still at work on io_.
void Worker::Wake() {
  if (wake_posted_) return;
  wake_posted_ = true;
  asio::post(io_, [this] { TakeDelivered(); });
}

void Worker::Deliver(SignCall* first) {
  SignCall* last = first;
  while (last->next != nullptr) last = last->next;
  MutexLock lock(mutex_);
  last->next = delivered_;
  delivered_ = first;
  Wake();
}

void Worker::DeliverKey(KeyAnswer answer) {
  MutexLock lock(mutex_);
  key_answers_.push_back(std::move(answer));
  Wake();
}

void Worker::TakeDelivered() {
  SignCall* call = nullptr;
  std::vector<KeyAnswer> answers;
  {
    MutexLock lock(mutex_);
    wake_posted_ = false;
    call = std::exchange(delivered_, nullptr);
    answers.swap(key_answers_);
  }
  while (call != nullptr) {
    SignCall* next = std::exchange(call->next, nullptr);
    --calls_in_flight_;
    auto* done = static_cast<HttpSignCall*>(call);
    done->connection->OnCallDone(done);
    call = next;
  }
  for (const KeyAnswer& answer : answers) answer.connection->OnKey(answer.error, answer.key);
}

void Worker::BeginDrain() {
  asio::post(io_, [this] {
    if (draining_) return;
    draining_ = true;
    AcceptRestAndClose();
    for (std::size_t i = connections_.size(); i-- > 0;) connections_[i]->OnDrain();
    TellIfEmpty();
  });
}

// The kernel has completed connections that wait to be accepted; their callers believe that they
// are connected, so they are served too.
void Worker::AcceptRestAndClose() {
  error_code ec;
  acceptor_->cancel(ec);
  for (;;) {
    tcp::socket socket(io_);
    acceptor_->accept(socket, ec);
    if (ec) break;
    TakeAccepted(std::move(socket));
  }
  acceptor_->close(ec);
}

void Worker::TellIfEmpty() {
  if (!draining_ || !connections_.empty()) return;
  MutexLock lock(mutex_);
  empty_ = true;
  empty_changed_.NotifyAll();
  if (stopping_) {
    ticker_.cancel();
    work_.reset();
  }
}

bool Worker::WaitUntilEmpty(Duration timeout) {
  MutexLock lock(mutex_);
  return empty_changed_.WaitFor(mutex_, timeout,
                                [this]() BULLA_REQUIRES(mutex_) { return empty_; });
}

void Worker::StopBlocking() {
  if (!thread_.joinable()) return;
  asio::post(io_, [this] {
    stopping_ = true;
    if (!draining_) {
      draining_ = true;
      error_code ec;
      acceptor_->close(ec);
    }
    for (std::size_t i = connections_.size(); i-- > 0;) connections_[i]->OnStop();
    TellIfEmpty();
  });
  thread_.join();
  MutexLock lock(mutex_);  // whoever woke the loop last has left Wake()
}

std::string_view Worker::HttpDate() {
  std::int64_t second = UnixMillis(shared_.clock.WallNow()) / 1000;
  if (second != date_second_) {
    date_second_ = second;
    date_ =
        fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(static_cast<std::time_t>(second)));
  }
  return date_;
}

// ---- Connection: reading ---------------------------------------------------------------------

void Connection::Start() {
  deadline_ = worker_.Now() + worker_.shared().options.idle_timeout;
  if (worker_.draining()) OnDrain();
  if (phase_ == Phase::kReading) ReadMore();
}

void Connection::Advance() {
  while (phase_ == Phase::kReading) {
    std::size_t used = reader_.Consume({in_.data() + in_begin_, in_end_ - in_begin_});
    in_begin_ += used;
    if (reader_.state() != HttpRequestReader::State::kRefused && !AccountBody()) return;
    if (reader_.state() < HttpRequestReader::State::kDone) {
      NoteRequestPhase();
      return ReadMore();
    }
    phase_ = Phase::kWorking;
    if (!Serve()) return;
    if (!WriteAnswer() || !FinishRequest()) return;
  }
}

// Sets the deadline that goes with how far the request has come.
void Connection::NoteRequestPhase() {
  using State = HttpRequestReader::State;
  State state = reader_.state();
  if (state == noted_state_) return;
  noted_state_ = state;
  const HttpServer::Options& options = worker_.shared().options;
  if (state == State::kHeader) deadline_ = worker_.Now() + options.header_timeout;
  if (state != State::kBody) return;
  deadline_ = worker_.Now() + options.body_timeout;
  if (reader_.request().expects_continue && !sent_continue_) {
    sent_continue_ = true;
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    error_code ec;
    // 25 bytes into an empty send buffer. Should they not fit, the caller sends after a wait
    // anyway.
    socket_.write_some(asio::buffer(kContinue.data(), kContinue.size()), ec);
  }
}

void Connection::ReadMore() {
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
    in_.resize(2 * in_.size());
  }
  ++outstanding_;
  socket_.async_read_some(asio::buffer(in_.data() + in_end_, in_.size() - in_end_),
                          [this](const error_code& ec, std::size_t bytes) { OnRead(ec, bytes); });
}

void Connection::OnRead(const error_code& ec, std::size_t bytes) {
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
        phase_ = Phase::kWorking;
        if (Serve() && WriteAnswer()) FinishRequest();
      } else {
        Close();
      }
    }
  }
  DeleteIfDone();
}

// Large bodies share one pool of memory. False, with the connection on its way out, when it is used
// up.
bool Connection::AccountBody() {
  std::size_t size = reader_.request().body.size();
  if (size <= kKeptBytesMax + body_pool_bytes_) return true;
  std::size_t more = size - kKeptBytesMax - body_pool_bytes_;
  std::atomic<std::size_t>& pool = worker_.shared().body_pool_bytes;
  if (pool.fetch_add(more) + more <= limits::kHttpBodyPoolBytes) {
    body_pool_bytes_ += more;
    return true;
  }
  pool.fetch_sub(more);
  phase_ = Phase::kWorking;
  request_id_ = worker_.ids().Take(reader_.request().request_id);
  method_ = FaceMethod::kOther;
  close_after_ = true;
  AnswerError(Refuse(ErrorCode::kRetryLater, ""));
  if (WriteAnswer()) FinishRequest();
  return false;
}

void Connection::ReturnBodyPool() {
  worker_.shared().body_pool_bytes.fetch_sub(std::exchange(body_pool_bytes_, 0));
}

// ---- Connection: serving ---------------------------------------------------------------------

bool Connection::Serve() {
  const HttpRequest& request = reader_.request();
  deadline_ = MonotonicTime::max();  // the service answers by the call's own deadline
  request_id_ = worker_.ids().Take(request.request_id);
  method_ = FaceMethod::kOther;
  close_after_ = !reader_.keep_alive();
  if (reader_.state() == HttpRequestReader::State::kRefused) return Refused(reader_.refusal());

  std::string_view target = request.target;
  std::string_view path = target.substr(0, target.find('?'));
  std::optional<Route> route = FindRoute(path);
  if (!route) {
    return Refused(Refuse(404, ErrorCode::kInvalidArgument,
                          fmt::format("path: got {}, want /create, /sign, /sign/batch or "
                                      "/keys/{{keyId}}",
                                      Quoted(path))));
  }
  method_ = route->method;
  if (request.method != route->allow) {
    if (request.method == "OPTIONS") {
      Answer(204, ErrorCode::kOk, {}, 0, route->allow);
      return true;
    }
    return Refused(
        Refuse(405, ErrorCode::kInvalidArgument,
               fmt::format("method: got {}, want {}", Quoted(request.method), route->allow)),
        route->allow);
  }
  if (path.size() < target.size()) {
    return Refused(
        Refuse(ErrorCode::kInvalidArgument,
               fmt::format("query: got {}, want none", Quoted(target.substr(path.size())))));
  }
  if (HttpRefusal refusal = CheckEnvelope(*route); refusal.any()) {
    return Refused(std::move(refusal));
  }
  return ServeRoute(*route);
}

HttpRefusal Connection::CheckEnvelope(const Route& route) const {
  const HttpRequest& request = reader_.request();
  if (!request.tenant_field.empty()) {
    return Refuse(ErrorCode::kInvalidArgument, TenantRefused(request.tenant_field).message);
  }
  if (request.body.empty()) return {};
  if (route.method == FaceMethod::kGetKey) {
    return Refuse(ErrorCode::kInvalidArgument,
                  fmt::format("body: got {} bytes, want none", request.body.size()));
  }
  if (!IsJsonContentType(request.content_type)) {
    return Refuse(
        415, ErrorCode::kInvalidArgument,
        fmt::format("Content-Type: got {}, want application/json",
                    request.content_type.empty() ? "none" : Quoted(request.content_type)));
  }
  if (request.has_content_encoding) {
    return Refuse(415, ErrorCode::kInvalidArgument, "Content-Encoding: want none");
  }
  return {};
}

bool Connection::ServeRoute(const Route& route) {
  switch (route.method) {
    case FaceMethod::kSign:
      return ServeSign();
    case FaceMethod::kBatch:
      return ServeBatch();
    case FaceMethod::kCreate:
      return ServeCreate();
    default:
      return ServeGetKey(route.key_id);
  }
}

bool Connection::ServeSign() {
  SignRequest request;
  if (Error error = ParseSign(reader_.request().body, request); !error.ok()) {
    return Refused(Refuse(error.code, std::move(error.message)));
  }
  if (!worker_.Admit(1)) return Refused(Refuse(ErrorCode::kRetryLater, ""));
  MonotonicTime now = worker_.Now();
  worker_.parse_latency().Observe(now - read_at_);
  sign_.key_id = request.key_id;
  sign_.digest = request.digest;
  sign_.der = request.der;
  sign_.deadline = now + worker_.shared().options.sign_timeout;
  sign_.error = ErrorCode::kOk;
  calls_out_ = 1;
  ++outstanding_;
  worker_.Submit(&sign_);
  return false;
}

bool Connection::ServeBatch() {
  if (Error error = ParseSignBatch(reader_.request().body, items_); !error.ok()) {
    return Refused(Refuse(error.code, std::move(error.message)));
  }
  auto good = static_cast<std::size_t>(std::count_if(
      items_.begin(), items_.end(), [](const BatchItem& item) { return item.error.ok(); }));
  if (!worker_.Admit(good)) return Refused(Refuse(ErrorCode::kRetryLater, ""));
  MonotonicTime deadline = worker_.Now() + worker_.shared().options.sign_timeout;
  batch_ = std::vector<HttpSignCall>(items_.size());
  for (std::size_t i = 0; i < items_.size(); ++i) {
    if (!items_[i].error.ok()) continue;
    HttpSignCall& call = batch_[i];
    call.connection = this;
    call.key_id = items_[i].request.key_id;
    call.digest = items_[i].request.digest;
    call.der = items_[i].request.der;
    call.deadline = deadline;
    ++calls_out_;
    ++outstanding_;
    worker_.Submit(&call);
  }
  if (calls_out_ > 0) return false;
  AnswerBatch();
  return true;
}

bool Connection::ServeCreate() {
  const HttpRequest& request = reader_.request();
  Error error = ParseCreate(request.body);
  if (error.ok()) error = CheckIdempotencyKey(request.idempotency_key);
  if (!error.ok()) return Refused(Refuse(error.code, std::move(error.message)));
  CreateCall call;
  call.idempotency_key = request.idempotency_key;
  call.deadline = worker_.Now() + worker_.shared().options.create_timeout;
  call.request_id = request_id_;
  ++outstanding_;
  worker_.shared().service.Create(std::move(call), KeyDone());
  return false;
}

bool Connection::ServeGetKey(std::string_view text) {
  KeyId key_id;
  if (Error error = ParseKeyId(text, key_id); !error.ok()) {
    return Refused(Refuse(error.code, std::move(error.message)));
  }
  ++outstanding_;
  worker_.shared().service.GetKey(key_id, KeyDone());
  return false;
}

std::function<void(Error, const KeyRow&)> Connection::KeyDone() {
  return [this, worker = &worker_](Error error, const KeyRow& key) {
    KeyAnswer answer{this, std::move(error), {}};
    if (answer.error.ok()) answer.key = key;
    worker->DeliverKey(std::move(answer));
  };
}

void Connection::OnCallDone(HttpSignCall* call) {
  --outstanding_;
  --calls_out_;
  if (phase_ == Phase::kWorking && calls_out_ == 0) {
    if (method_ == FaceMethod::kBatch) {
      AnswerBatch();
    } else if (call->error == ErrorCode::kOk) {
      scratch_.clear();
      AppendSignature(call->signature, call->der, scratch_);
      Answer(200, ErrorCode::kOk, scratch_);
      worker_.total_latency().Observe(worker_.Now() - read_at_);
    } else {
      AnswerError(Refuse(call->error, ""));
    }
    if (WriteAnswer() && FinishRequest()) Advance();
  }
  DeleteIfDone();
}

void Connection::OnKey(const Error& error, const KeyRow& key) {
  --outstanding_;
  if (phase_ == Phase::kWorking) {
    if (error.ok()) {
      scratch_.clear();
      method_ == FaceMethod::kCreate ? AppendCreated(key, scratch_) : AppendKey(key, scratch_);
      Answer(200, ErrorCode::kOk, scratch_);
    } else {
      AnswerError(Refuse(error.code, error.message));
    }
    if (WriteAnswer() && FinishRequest()) Advance();
  }
  DeleteIfDone();
}

// ---- Connection: answering -------------------------------------------------------------------

void Connection::Answer(int status, ErrorCode code, std::string_view body,
                        std::uint32_t retry_after_ms, std::string_view allow) {
  worker_.shared().metrics.Count(method_, code);
  if (worker_.draining() && !MoreHasArrived()) close_after_ = true;
  auto out = std::back_inserter(out_);
  fmt::format_to(out, "HTTP/1.1 {} {}\r\nDate: {}\r\n", status, ReasonPhrase(status),
                 worker_.HttpDate());
  if (status != 204) {
    fmt::format_to(out, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  }
  out_ += "X-Request-Id: ";
  out_ += request_id_;
  out_ += "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
  if (!allow.empty()) fmt::format_to(out, "Allow: {}, OPTIONS\r\n", allow);
  if (retry_after_ms > 0) {
    fmt::format_to(out, "Retry-After: {}\r\nretry-after-ms: {}\r\n", (retry_after_ms + 999) / 1000,
                   retry_after_ms);
  }
  if (close_after_) {
    out_ += "Connection: close\r\n";
  } else if (!reader_.request().is_http_1_1) {
    out_ += "Connection: keep-alive\r\n";  // HTTP/1.0 asked for it and needs to be told
  }
  out_ += "\r\n";
  if (reader_.request().method != "HEAD") out_ += body;
}

// Whether part of another request waits, here or in the kernel: then the drain is not over yet.
bool Connection::MoreHasArrived() {
  error_code ec;
  return in_begin_ < in_end_ || socket_.available(ec) > 0;
}

void Connection::AnswerError(const HttpRefusal& refusal, std::string_view allow) {
  std::uint32_t retry_after_ms = RetryAfterMs(refusal.error.code, worker_.NextJitter() >> 33);
  scratch_.clear();
  AppendError(refusal.error, request_id_, retry_after_ms, scratch_);
  Answer(refusal.status, refusal.error.code, scratch_, retry_after_ms, allow);
}

void Connection::AnswerBatch() {
  scratch_ = R"({"results":[)";
  for (std::size_t i = 0; i < items_.size(); ++i) {
    if (i > 0) scratch_ += ',';
    const HttpSignCall& call = batch_[i];
    Error error = items_[i].error;
    if (error.ok()) error.code = call.error;
    worker_.shared().metrics.Count(FaceMethod::kBatchItem, error.code);
    if (error.ok()) {
      AppendSignature(call.signature, call.der, scratch_);
    } else {
      AppendError(error, request_id_, RetryAfterMs(error.code, worker_.NextJitter() >> 33),
                  scratch_);
    }
  }
  scratch_ += "]}";
  Answer(200, ErrorCode::kOk, scratch_);
}

bool Connection::WriteAnswer() {
  phase_ = Phase::kWriting;
  while (out_sent_ < out_.size()) {
    error_code ec;
    out_sent_ +=
        socket_.write_some(asio::buffer(out_.data() + out_sent_, out_.size() - out_sent_), ec);
    if (ec == asio::error::would_block) {
      deadline_ = worker_.Now() + limits::kHttpWriteTimeout;
      ++outstanding_;
      socket_.async_wait(tcp::socket::wait_write,
                         [this](const error_code& wait_ec) { OnWritable(wait_ec); });
      return false;
    }
    if (ec) {
      Close();
      return false;
    }
  }
  return true;
}

void Connection::OnWritable(const error_code& ec) {
  --outstanding_;
  if (phase_ == Phase::kWriting) {
    if (ec) {
      Close();
    } else if (WriteAnswer() && FinishRequest()) {
      Advance();
    }
  }
  DeleteIfDone();
}

// Ready for the next request: true. False when this was the last.
bool Connection::FinishRequest() {
  out_.clear();
  out_sent_ = 0;
  if (out_.capacity() > kKeptBytesMax) out_.shrink_to_fit();
  if (scratch_.capacity() > kKeptBytesMax) {
    scratch_.clear();
    scratch_.shrink_to_fit();
  }
  items_ = {};
  batch_ = {};
  if (close_after_) {
    Linger();
    return false;
  }
  if (in_.size() > kReadBytes && in_begin_ == in_end_) {
    in_ = std::vector<char>(kReadBytes);
    in_begin_ = in_end_ = 0;
  }
  ReturnBodyPool();
  reader_.Reset();
  noted_state_ = HttpRequestReader::State::kIdle;
  sent_continue_ = false;
  phase_ = Phase::kReading;
  deadline_ = worker_.Now() + worker_.shared().options.idle_timeout;
  if (worker_.draining()) OnDrain();
  return true;
}

// Says that nothing more will come, and drops what still arrives until the other side closes too.
void Connection::Linger() {
  ReturnBodyPool();
  reader_.Reset();
  error_code ec;
  socket_.shutdown(tcp::socket::shutdown_send, ec);
  if (ec) return Close();
  phase_ = Phase::kLingering;
  deadline_ = worker_.Now() + limits::kHttpLingerTimeout;
  in_begin_ = in_end_ = 0;
  ReadMore();
}

void Connection::Close() {
  phase_ = Phase::kClosed;
  error_code ec;
  socket_.close(ec);
}

void Connection::DeleteIfDone() {
  if (phase_ == Phase::kClosed && outstanding_ == 0) worker_.Remove(this);
}

// ---- Connection: time and the end ------------------------------------------------------------

void Connection::OnTick(MonotonicTime now) {
  if (now < deadline_) return;
  if (phase_ == Phase::kReading && reader_.state() != HttpRequestReader::State::kIdle) {
    // A read is outstanding and stays so: what it brings is dropped while lingering.
    request_id_ = worker_.ids().Take(reader_.request().request_id);
    method_ = FaceMethod::kOther;
    close_after_ = true;
    AnswerError(Refuse(408, ErrorCode::kInvalidArgument, "request: not complete in time"));
    if (WriteAnswer()) FinishRequest();
  } else if (phase_ != Phase::kWorking) {
    Close();
  }
  DeleteIfDone();
}

void Connection::OnDrain() {
  if (phase_ != Phase::kReading || reader_.state() != HttpRequestReader::State::kIdle) return;
  deadline_ = std::min(deadline_, worker_.Now() + limits::kHttpDrainGrace);
}

void Connection::OnStop() {
  if (phase_ != Phase::kClosed) Close();
  DeleteIfDone();
}

}  // namespace

// ---- HttpServer ------------------------------------------------------------------------------

class HttpServer::Impl {
 public:
  Impl(Options options, SignerService& service, Metrics& metrics, const Clock& clock)
      : shared_(std::move(options), service, metrics, clock) {}

  absl::StatusOr<std::string> Start() {
    BULLA_CHECK(workers_.empty(), "HttpServer::Start is called once");
    if (shared_.options.threads < 1) return absl::InvalidArgumentError("threads: want 1 or more");
    BULLA_ASSIGN_OR_RETURN(tcp::endpoint endpoint, ParseListenAddress(shared_.options.listen));
    BULLA_RETURN_IF_ERROR(CheckFree(endpoint));
    std::vector<std::unique_ptr<Worker>> workers;
    for (int i = 0; i < shared_.options.threads; ++i) {
      workers.push_back(std::make_unique<Worker>(shared_, workers.size()));
      BULLA_RETURN_IF_ERROR(workers.back()->Listen(endpoint));
      endpoint = workers.front()->endpoint();  // with the port that was chosen
    }
    workers_ = std::move(workers);
    for (const auto& worker : workers_) worker->StartThread();
    return workers_.front()->address();
  }

  bool Drain(MonotonicTime deadline) {
    for (const auto& worker : workers_) worker->BeginDrain();
    bool all = true;
    for (const auto& worker : workers_) {
      all = worker->WaitUntilEmpty(std::max(Duration(0), deadline - shared_.clock.Now())) && all;
    }
    return all;
  }

  void Stop() {
    for (auto worker = workers_.rbegin(); worker != workers_.rend(); ++worker) {
      (*worker)->StopBlocking();
    }
  }

 private:
  // SO_REUSEPORT would let a second gateway of the same user share the port in silence. A socket
  // without it finds out.
  static absl::Status CheckFree(const tcp::endpoint& endpoint) {
    asio::io_context io;
    return ListenOn(io, endpoint, /*share=*/false).status();
  }

  Shared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

HttpServer::HttpServer(Options options, SignerService& service, Metrics& metrics,
                       const Clock& clock)
    : impl_(std::make_unique<Impl>(std::move(options), service, metrics, clock)) {}

HttpServer::~HttpServer() { Stop(); }

absl::StatusOr<std::string> HttpServer::Start() { return impl_->Start(); }
bool HttpServer::Drain(MonotonicTime deadline) { return impl_->Drain(deadline); }
void HttpServer::Stop() { impl_->Stop(); }

}  // namespace bulla
