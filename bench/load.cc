#include "bench/load.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "bench/http_response.h"

namespace bulla {
namespace {

constexpr Duration kReportEvery = std::chrono::seconds(1);
constexpr Duration kReconnectEvery = std::chrono::milliseconds(100);
// After the end: as long as a caller would wait for an answer.
constexpr Duration kGrace = std::chrono::seconds(5);
// Few, so that a request that falls due meanwhile is not kept waiting by answers.
constexpr int kEventsMax = 32;
constexpr std::size_t kFirstErrorBytesMax = 300;
constexpr std::size_t kInBytes = 2 * kAnswerBytesMax;  // header and body

// A request with places for the key id and the digest.
struct RequestTemplate {
  std::string bytes;
  std::size_t key_at = 0;
  std::size_t digest_at = 0;
};

RequestTemplate TemplateFor(const Target& target) {
  constexpr std::size_t kKeyIdBytes = 36;
  constexpr std::size_t kDigestDigits = 64;
  std::string body = R"({"keyId":")";
  std::size_t key_in_body = body.size();
  body.append(kKeyIdBytes, '-');
  body += R"(","digest":")";
  std::size_t digest_in_body = body.size();
  body.append(kDigestDigits, '0');
  body += R"("})";
  std::string head = fmt::format(
      "POST /sign HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n"
      "Content-Length: {}\r\n\r\n",
      target.host_field, body.size());
  return {head + body, head.size() + key_in_body, head.size() + digest_in_body};
}

struct Connection {
  enum class State { kDown, kConnecting, kIdle, kBusy };

  UniqueFd fd;
  State state = State::kDown;
  DueRequest request;  // when busy
  std::string out;
  std::size_t sent = 0;
  std::array<char, kInBytes> in;
  std::size_t received = 0;
};

Duration CpuOfThisThread() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// Confined to one thread.
class Load {
 public:
  Load(const LoadPlan& plan, const Target& target, const Clock& clock,
       const std::function<void(const LoadProgress&)>& report)
      : plan_(plan),
        target_(target),
        clock_(clock),
        report_(report),
        request_(TemplateFor(target)) {}

  absl::Status Connect();
  absl::Status Run();
  LoadResult TakeResult() { return std::move(result_); }

 private:
  using State = Connection::State;

  void StartDue();
  void Send(Connection& connection);
  void OnEvents(Connection& connection, std::uint32_t events);
  void Receive(Connection& connection);
  void OnAnswer(Connection& connection, const HttpResponse& response);
  void OnMalformed(Connection& connection);
  void Lose(Connection& connection, std::string_view why);
  void SetIdle(Connection& connection);
  void CountError(const DueRequest& request, std::uint64_t& counter, std::string_view what);
  void Tick(MonotonicTime now);
  void PassEdge();
  void Reconnect(Connection& connection);
  absl::Status Watch(Connection& connection);
  absl::Status Wait(MonotonicTime now, MonotonicTime give_up_at);
  void Finish();

  const LoadPlan& plan_;
  const Target& target_;
  const Clock& clock_;
  const std::function<void(const LoadProgress&)>& report_;
  const RequestTemplate request_;

  UniqueFd epoll_;
  std::vector<std::unique_ptr<Connection>> connections_;
  // First in, first out: all connections take their turn, as with so many callers.
  std::deque<Connection*> idle_;
  std::uint64_t busy_ = 0;
  std::optional<Schedule> schedule_;
  MonotonicTime start_;
  MonotonicTime last_answer_;
  MonotonicTime next_report_;
  MonotonicTime next_reconnect_;
  MonotonicTime next_edge_;  // of the measured part; max() behind both
  int edges_passed_ = 0;
  std::uint64_t answered_ = 0;
  LatencyHistogram interval_;
  LoadResult result_;
};

absl::Status Load::Watch(Connection& connection) {
  epoll_event event{};
  // Edge-triggered and for both directions: never to be changed while the connection lives.
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &connection;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection.fd.get(), &event) != 0) {
    return absl::InternalError(fmt::format("epoll_ctl: {}", std::strerror(errno)));
  }
  return absl::OkStatus();
}

absl::Status Load::Connect() {
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return absl::InternalError("epoll_create1 failed");
  for (int i = 0; i < plan_.connections; ++i) {
    Connection& connection = *connections_.emplace_back(std::make_unique<Connection>());
    BULLA_ASSIGN_OR_RETURN(connection.fd, ConnectBlocking(target_));
    BULLA_RETURN_IF_ERROR(SetNonBlocking(connection.fd.get()));
    BULLA_RETURN_IF_ERROR(Watch(connection));
    connection.out = request_.bytes;
    SetIdle(connection);
  }
  return absl::OkStatus();
}

absl::Status Load::Run() {
  // The kernel may delay a sleeping thread by 50 us to save power; requests would be sent late.
  ::prctl(PR_SET_TIMERSLACK, 1);
  Duration cpu_before = CpuOfThisThread();
  start_ = clock_.Now();
  schedule_.emplace(plan_.schedule, start_);
  last_answer_ = schedule_->measured_from();
  next_report_ = start_ + kReportEvery;
  next_reconnect_ = start_ + kReconnectEvery;
  next_edge_ = schedule_->measured_from();
  MonotonicTime give_up_at = schedule_->end() + kGrace;
  while (true) {
    StartDue();
    MonotonicTime now = clock_.Now();
    if (now >= next_edge_) PassEdge();
    if ((schedule_->Ended(now) && busy_ == 0) || now >= give_up_at) break;
    if (now >= std::min(next_report_, next_reconnect_)) Tick(now);
    BULLA_RETURN_IF_ERROR(Wait(now, give_up_at));
  }
  while (edges_passed_ < 2) PassEdge();  // all was answered before the end
  result_.cpu = CpuOfThisThread() - cpu_before;
  Finish();
  return absl::OkStatus();
}

void Load::StartDue() {
  while (!idle_.empty()) {
    Connection& connection = *idle_.front();
    if (connection.state != State::kIdle) {  // lost meanwhile
      idle_.pop_front();
      continue;
    }
    MonotonicTime now = clock_.Now();
    std::optional<DueRequest> request = schedule_->Take(now);
    if (!request) return;
    idle_.pop_front();
    if (request->measured) {
      ++result_.requests;
      result_.lag.Record(now - request->due);
    } else {
      ++result_.warm_up_requests;
    }
    connection.request = *request;
    connection.state = State::kBusy;
    connection.sent = 0;
    connection.received = 0;
    ++busy_;
    const std::string& key_id = plan_.keys[KeyOf(request->index, plan_.keys.size())].id;
    key_id.copy(connection.out.data() + request_.key_at, key_id.size());
    std::string digest = HexEncode(DigestOf(plan_.seed, request->index));
    digest.copy(connection.out.data() + request_.digest_at, digest.size());
    Send(connection);
  }
}

void Load::Send(Connection& connection) {
  while (connection.sent < connection.out.size()) {
    ssize_t bytes = ::send(connection.fd.get(), connection.out.data() + connection.sent,
                           connection.out.size() - connection.sent, MSG_NOSIGNAL);
    if (bytes < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) Lose(connection, std::strerror(errno));
      return;  // the rest when it is writable again
    }
    connection.sent += static_cast<std::size_t>(bytes);
  }
}

absl::Status Load::Wait(MonotonicTime now, MonotonicTime give_up_at) {
  MonotonicTime until = std::min({give_up_at, next_report_, next_reconnect_, next_edge_});
  if (!idle_.empty() && !schedule_->Ended(now)) until = std::min(until, schedule_->next_due());
  auto left = std::max(Duration::zero(), until - now);
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
  std::array<epoll_event, kEventsMax> events;
  int count = ::epoll_pwait2(epoll_.get(), events.data(), kEventsMax, &timeout, nullptr);
  if (count < 0 && errno != EINTR) {
    return absl::InternalError(fmt::format("epoll_pwait2: {}", std::strerror(errno)));
  }
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    OnEvents(*static_cast<Connection*>(event.data.ptr), event.events);
  }
  return absl::OkStatus();
}

void Load::OnEvents(Connection& connection, std::uint32_t events) {
  if (connection.state == State::kConnecting) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(connection.fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0 || (events & (EPOLLERR | EPOLLHUP)) != 0) {
      Lose(connection, std::strerror(error));
    } else if ((events & EPOLLOUT) != 0) {
      SetIdle(connection);
    }
    return;
  }
  if (connection.state == State::kBusy && (events & EPOLLOUT) != 0) Send(connection);
  if (connection.state == State::kBusy && (events & EPOLLIN) != 0) Receive(connection);
  bool ended = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  if (ended && connection.state != State::kDown) Lose(connection, "the service closed it");
}

void Load::Receive(Connection& connection) {
  while (connection.state == State::kBusy) {
    if (connection.received == connection.in.size()) return OnMalformed(connection);
    ssize_t bytes = ::recv(connection.fd.get(), connection.in.data() + connection.received,
                           connection.in.size() - connection.received, 0);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0 && errno == EAGAIN) return;
    if (bytes < 0) return Lose(connection, std::strerror(errno));
    if (bytes == 0) return Lose(connection, "the service closed it");
    connection.received += static_cast<std::size_t>(bytes);
    HttpResponse response;
    switch (ReadResponse({connection.in.data(), connection.received}, response)) {
      case ResponseState::kIncomplete:
        break;
      case ResponseState::kMalformed:
        return OnMalformed(connection);
      case ResponseState::kComplete:
        // More than was asked for: the next answer would not be that to the next request.
        if (response.bytes != connection.received) return OnMalformed(connection);
        return OnAnswer(connection, response);
    }
  }
}

void Load::OnAnswer(Connection& connection, const HttpResponse& response) {
  MonotonicTime now = clock_.Now();
  const DueRequest request = connection.request;
  std::optional<RecoverableSignature> signature;
  if (response.status == 200) signature = ReadSignature(response.body);
  if (signature) {
    ++answered_;
    Duration latency = now - request.due;
    interval_.Record(latency);
    if (request.measured) result_.latency.Record(latency);
    result_.answers.Add({request.index, *signature, request.measured});
  } else if (response.status == 200) {
    CountError(request, result_.malformed, response.body);
  } else {
    CountError(request, result_.failed, response.body);
    if (request.measured) ++result_.errors[response.status];
  }
  if (request.measured) last_answer_ = now;
  --busy_;
  SetIdle(connection);
  if (response.close) Lose(connection, "");
}

void Load::OnMalformed(Connection& connection) {
  CountError(connection.request, result_.malformed, "what answers does not speak Bulla's HTTP");
  --busy_;
  connection.state = State::kIdle;  // its request is accounted for
  Lose(connection, "");
}

// A request that a connection takes with it is not repeated: it was due once.
void Load::Lose(Connection& connection, std::string_view why) {
  if (connection.state == State::kBusy) {
    CountError(connection.request, result_.dropped, fmt::format("a connection was lost: {}", why));
    --busy_;
  }
  connection.state = State::kDown;
  connection.fd.Reset();
}

void Load::SetIdle(Connection& connection) {
  connection.state = State::kIdle;
  idle_.push_back(&connection);
}

void Load::CountError(const DueRequest& request, std::uint64_t& counter, std::string_view what) {
  ++(request.measured ? counter : result_.warm_up_failed);
  if (result_.first_error.empty()) result_.first_error = what.substr(0, kFirstErrorBytesMax);
}

void Load::Tick(MonotonicTime now) {
  if (now >= next_reconnect_) {
    next_reconnect_ = now + kReconnectEvery;
    for (const std::unique_ptr<Connection>& connection : connections_) {
      if (connection->state == State::kDown) Reconnect(*connection);
    }
  }
  if (now >= next_report_) {
    report_(
        {.since_start = now - start_,
         .interval = now - next_report_ + kReportEvery,
         .latency = interval_,
         .failed = result_.failed + result_.malformed + result_.dropped + result_.warm_up_failed,
         .warm_up = now < schedule_->measured_from()});
    interval_.Clear();
    next_report_ = now + kReportEvery;
  }
}

void Load::PassEdge() {
  next_edge_ = ++edges_passed_ == 1 ? schedule_->end() : MonotonicTime::max();
  if (plan_.at_edge) plan_.at_edge(answered_);
}

void Load::Reconnect(Connection& connection) {
  // It may still stand in line from before it was lost; once there is enough.
  std::erase(idle_, &connection);
  absl::StatusOr<UniqueFd> fd = StartConnecting(target_);
  if (!fd.ok()) return;  // the next tick tries again
  connection.fd = *std::move(fd);
  if (!Watch(connection).ok()) return connection.fd.Reset();
  connection.state = State::kConnecting;
  ++result_.reconnects;
}

void Load::Finish() {
  for (const std::unique_ptr<Connection>& connection : connections_) {
    if (connection->state == State::kBusy) Lose(*connection, "no answer came in time");
  }
  std::uint64_t left = schedule_->MeasuredLeft();
  result_.requests += left;
  result_.dropped += left;
  result_.measured = last_answer_ - schedule_->measured_from();
}

}  // namespace

absl::StatusOr<LoadResult> RunLoadBlocking(const LoadPlan& plan, const Target& target,
                                           const Clock& clock,
                                           const std::function<void(const LoadProgress&)>& report) {
  auto load = std::make_unique<Load>(plan, target, clock, report);
  BULLA_RETURN_IF_ERROR(load->Connect());
  BULLA_RETURN_IF_ERROR(load->Run());
  return load->TakeResult();
}

}  // namespace bulla
