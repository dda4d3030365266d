// POST /sign and POST /sign/batch over kept connections, one message at a time on each. One epoll;
// per message one send, one recv and a share of an epoll_wait.

#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <fmt/format.h>
#include <sys/epoll.h>

#include "base/errno_text.h"
#include "bench/transport/http_response.h"
#include "bench/transport/transport.h"

namespace bulla {
namespace {

// Few, so that a request that falls due meanwhile is not kept waiting by answers.
constexpr int kEventsMax = 32;
constexpr std::size_t kHeaderBytesMax = 8192;

// Writes messages of any number of items up to the batch.
class RequestWriter {
 public:
  explicit RequestWriter(const TransportPlan& plan)
      : plan_(plan), batch_(plan.traffic.protocol == Protocol::kHttpBatch) {
    std::size_t items_max = batch_ ? static_cast<std::size_t>(plan.traffic.batch) : 1;
    for (std::size_t items = 0; items <= items_max; ++items) heads_.push_back(HeadFor(items));
  }

  void Write(std::span<const DueRequest> items, std::string& out) const {
    out = heads_[items.size()];
    if (batch_) out += kBatchBegin;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += ',';
      AppendItem(items[i].index, out);
    }
    if (batch_) out += kBatchEnd;
  }

 private:
  static constexpr std::string_view kBatchBegin = R"({"items":[)";
  static constexpr std::string_view kBatchEnd = "]}";
  static constexpr std::string_view kItemBegin = R"({"keyId":")";
  static constexpr std::string_view kItemMiddle = R"(","digest":")";
  static constexpr std::string_view kItemEnd = R"("})";
  static constexpr std::size_t kKeyIdBytes = 36;
  static constexpr std::size_t kDigestDigits = 64;
  static constexpr std::size_t kItemBytes =
      kItemBegin.size() + kKeyIdBytes + kItemMiddle.size() + kDigestDigits + kItemEnd.size();

  std::string HeadFor(std::size_t items) const {
    std::size_t body = items * kItemBytes;
    if (batch_) body += kBatchBegin.size() + kBatchEnd.size() + (items > 0 ? items - 1 : 0);
    return fmt::format(
        "POST {}{} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n"
        "Content-Length: {}\r\n\r\n",
        plan_.target.path, batch_ ? "/sign/batch" : "/sign", plan_.target.host_field, body);
  }

  void AppendItem(std::uint64_t index, std::string& out) const {
    out += kItemBegin;
    out += plan_.keys[KeyOf(index, plan_.keys.size())].id;
    out += kItemMiddle;
    out += HexEncode(DigestOf(plan_.seed, index));
    out += kItemEnd;
  }

  const TransportPlan& plan_;
  const bool batch_;
  std::vector<std::string> heads_;  // by number of items
};

struct Connection {
  enum class State { kDown, kConnecting, kIdle, kBusy };

  UniqueFd fd;
  State state = State::kDown;
  std::vector<DueRequest> items;  // when busy
  std::string out;
  std::size_t sent = 0;
  std::unique_ptr<char[]> in;
  std::size_t received = 0;
};

// Confined to one thread.
class HttpTransport final : public Transport {
 public:
  HttpTransport(const TransportPlan& plan, const Clock& clock, LoadBook& book)
      : plan_(plan),
        clock_(clock),
        book_(book),
        writer_(plan_),
        body_bytes_max_(AnswerBytesMax(plan.traffic.protocol == Protocol::kHttpBatch
                                           ? static_cast<std::size_t>(plan.traffic.batch)
                                           : 1)),
        in_bytes_(kHeaderBytesMax + body_bytes_max_) {}

  absl::Status ConnectBlocking() override;
  bool CanSend() override;
  void Send(std::span<const DueRequest> items) override;
  absl::Status ReceiveBlocking(MonotonicTime until) override;
  void Reconnect() override;
  void GiveUp() override;

 private:
  using State = Connection::State;

  void SendRest(Connection& connection);
  void OnEvents(Connection& connection, std::uint32_t events);
  void Receive(Connection& connection);
  void OnAnswer(Connection& connection, const HttpResponse& response);
  void OnBatch(Connection& connection, std::string_view body, MonotonicTime now);
  void OnMalformed(Connection& connection);
  void Lose(Connection& connection, std::string_view why);
  void SetIdle(Connection& connection);
  void Replace(Connection& connection);
  absl::Status Watch(Connection& connection);

  const TransportPlan plan_;
  const Clock& clock_;
  LoadBook& book_;
  const RequestWriter writer_;
  const std::size_t body_bytes_max_;
  const std::size_t in_bytes_;

  UniqueFd epoll_;
  std::vector<std::unique_ptr<Connection>> connections_;
  // First in, first out: all connections take their turn, as with so many callers.
  std::deque<Connection*> idle_;
  std::vector<BatchResult> results_;  // of the answer at hand
};

absl::Status HttpTransport::Watch(Connection& connection) {
  epoll_event event{};
  // Edge-triggered and for both directions: never to be changed while the connection lives.
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &connection;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection.fd.get(), &event) != 0) {
    return absl::InternalError(fmt::format("epoll_ctl: {}", ErrnoText(errno)));
  }
  return absl::OkStatus();
}

absl::Status HttpTransport::ConnectBlocking() {
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return absl::InternalError("epoll_create1 failed");
  for (int i = 0; i < plan_.traffic.connections; ++i) {
    Connection& connection = *connections_.emplace_back(std::make_unique<Connection>());
    BULLA_ASSIGN_OR_RETURN(connection.fd, bulla::ConnectBlocking(plan_.target));
    BULLA_RETURN_IF_ERROR(SetNonBlocking(connection.fd.get()));
    BULLA_RETURN_IF_ERROR(Watch(connection));
    connection.in = std::make_unique_for_overwrite<char[]>(in_bytes_);
    SetIdle(connection);
  }
  return absl::OkStatus();
}

bool HttpTransport::CanSend() {
  while (!idle_.empty() && idle_.front()->state != State::kIdle)
    idle_.pop_front();  // lost meanwhile
  return !idle_.empty();
}

void HttpTransport::Send(std::span<const DueRequest> items) {
  Connection& connection = *idle_.front();
  idle_.pop_front();
  connection.items.assign(items.begin(), items.end());
  connection.state = State::kBusy;
  connection.sent = 0;
  connection.received = 0;
  writer_.Write(items, connection.out);
  SendRest(connection);
}

void HttpTransport::SendRest(Connection& connection) {
  while (connection.sent < connection.out.size()) {
    ssize_t bytes = ::send(connection.fd.get(), connection.out.data() + connection.sent,
                           connection.out.size() - connection.sent, MSG_NOSIGNAL);
    if (bytes < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) Lose(connection, ErrnoText(errno));
      return;  // the rest when it is writable again
    }
    connection.sent += static_cast<std::size_t>(bytes);
  }
}

absl::Status HttpTransport::ReceiveBlocking(MonotonicTime until) {
  Duration left = std::max(Duration::zero(), until - clock_.Now());
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
  std::array<epoll_event, kEventsMax> events;
  int count = ::epoll_pwait2(epoll_.get(), events.data(), kEventsMax, &timeout, nullptr);
  if (count < 0 && errno != EINTR) {
    return absl::InternalError(fmt::format("epoll_pwait2: {}", ErrnoText(errno)));
  }
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    OnEvents(*static_cast<Connection*>(event.data.ptr), event.events);
  }
  return absl::OkStatus();
}

void HttpTransport::OnEvents(Connection& connection, std::uint32_t events) {
  if (connection.state == State::kConnecting) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(connection.fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0 || (events & (EPOLLERR | EPOLLHUP)) != 0) {
      Lose(connection, ErrnoText(error));
    } else if ((events & EPOLLOUT) != 0) {
      SetIdle(connection);
    }
    return;
  }
  if (connection.state == State::kBusy && (events & EPOLLOUT) != 0) SendRest(connection);
  if (connection.state == State::kBusy && (events & EPOLLIN) != 0) Receive(connection);
  bool ended = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  if (ended && connection.state != State::kDown) Lose(connection, "the service closed it");
}

void HttpTransport::Receive(Connection& connection) {
  while (connection.state == State::kBusy) {
    if (connection.received == in_bytes_) return OnMalformed(connection);
    ssize_t bytes = ::recv(connection.fd.get(), connection.in.get() + connection.received,
                           in_bytes_ - connection.received, 0);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0 && errno == EAGAIN) return;
    if (bytes < 0) return Lose(connection, ErrnoText(errno));
    if (bytes == 0) return Lose(connection, "the service closed it");
    connection.received += static_cast<std::size_t>(bytes);
    HttpResponse response;
    switch (ReadResponse({connection.in.get(), connection.received}, body_bytes_max_, response)) {
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

void HttpTransport::OnAnswer(Connection& connection, const HttpResponse& response) {
  MonotonicTime now = clock_.Now();
  if (response.status != 200) {
    std::string_view code = TextMember(response.body, "code");
    const std::string name =
        code.empty() ? fmt::format("HTTP {}", response.status) : std::string(code);
    for (const DueRequest& item : connection.items) book_.Failed(item, name, response.body, now);
  } else if (plan_.traffic.protocol == Protocol::kHttpBatch) {
    OnBatch(connection, response.body, now);
  } else if (std::optional<RecoverableSignature> signature = ReadSignature(response.body)) {
    book_.Answered(connection.items.front(), *signature, now);
  } else {
    book_.Malformed(connection.items.front(), response.body);
  }
  SetIdle(connection);
  if (response.close) Lose(connection, "");
}

void HttpTransport::OnBatch(Connection& connection, std::string_view body, MonotonicTime now) {
  if (!ReadBatch(body, results_) || results_.size() != connection.items.size()) {
    for (const DueRequest& item : connection.items) book_.Malformed(item, body);
    return;
  }
  for (std::size_t i = 0; i < results_.size(); ++i) {
    const DueRequest& item = connection.items[i];
    const BatchResult& result = results_[i];
    if (result.signature) {
      book_.Answered(item, *result.signature, now);
    } else if (std::string_view code = TextMember(result.text, "code"); !code.empty()) {
      book_.Failed(item, code, result.text, now);
    } else {
      book_.Malformed(item, result.text);
    }
  }
}

void HttpTransport::OnMalformed(Connection& connection) {
  for (const DueRequest& item : connection.items) {
    book_.Malformed(item, "what answers does not speak Bulla's HTTP");
  }
  connection.state = State::kIdle;  // its items are accounted for
  Lose(connection, "");
}

// What a connection takes with it is not sent again: it was due once.
void HttpTransport::Lose(Connection& connection, std::string_view why) {
  if (connection.state == State::kBusy) {
    const std::string reason = fmt::format("a connection was lost: {}", why);
    for (const DueRequest& item : connection.items) book_.Dropped(item, reason);
  }
  connection.state = State::kDown;
  connection.fd.Reset();
}

void HttpTransport::SetIdle(Connection& connection) {
  connection.state = State::kIdle;
  idle_.push_back(&connection);
}

void HttpTransport::Reconnect() {
  for (const std::unique_ptr<Connection>& connection : connections_) {
    if (connection->state == State::kDown) Replace(*connection);
  }
}

void HttpTransport::Replace(Connection& connection) {
  // It may still stand in line from before it was lost; once there is enough.
  std::erase(idle_, &connection);
  absl::StatusOr<UniqueFd> fd = StartConnecting(plan_.target);
  if (!fd.ok()) return;  // tried again soon
  connection.fd = *std::move(fd);
  if (!Watch(connection).ok()) return connection.fd.Reset();
  connection.state = State::kConnecting;
  book_.CountReconnect();
}

void HttpTransport::GiveUp() {
  for (const std::unique_ptr<Connection>& connection : connections_) {
    if (connection->state == State::kBusy) Lose(*connection, "no answer came in time");
  }
}

}  // namespace

std::unique_ptr<Transport> MakeHttpTransport(const TransportPlan& plan, const Clock& clock,
                                             LoadBook& book) {
  return std::make_unique<HttpTransport>(plan, clock, book);
}

}  // namespace bulla
