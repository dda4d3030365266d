#include "gateway/admin/server.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <list>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>

#include "base/acceptor.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "gateway/admin/limits.h"
#include "gateway/frontend/call_rules.h"
#include "gateway/frontend/limits.h"
#include "gateway/frontend/request_id.h"
#include "gateway/frontend/tcp_listen.h"
#include "gateway/http/answer.h"
#include "gateway/http/host_check.h"
#include "gateway/http/json.h"
#include "gateway/http/request.h"
#include "gateway/http/routes.h"
#include "wire/address.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using boost::system::error_code;

using Socket = asio::generic::stream_protocol::socket;  // of TCP or of a Unix socket

constexpr std::string_view kGets = "GET, HEAD, OPTIONS";
constexpr std::string_view kChanges = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";
constexpr std::string_view kEnclaves = "/enclaves";
constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";
// For a request, from the answer before it on. A scraper that comes less often connects again.
constexpr std::chrono::seconds kRequestPatience{10};
constexpr std::chrono::seconds kAnswerPatience{30};
constexpr char kLasts[] =
    "until the gateway restarts, or `enclaves` in its configuration changes; to make it last, "
    "change `enclaves` there too";

// What is answered: a body, or an error.
struct Reply {
  int status = 200;
  std::string body = {};
  std::string error = {};  // its name; empty: none
  std::string message = {};
  std::string_view content_type = "application/json";
  HttpField field = {};
};

Reply Refused(int status, std::string_view name, std::string message) {
  return {.status = status, .error = std::string(name), .message = std::move(message)};
}

Reply Refused(const HttpRefusal& refusal) {
  Reply reply = Refused(refusal.status, ErrorRowOf(refusal.error.code).name,
                        std::string(refusal.error.Message()));
  reply.field = refusal.field;
  return reply;
}

Reply Refused(const Error& error) { return Refused(Refuse(error.code, error.message)); }

std::string_view PathOf(const HttpRequest& request) {
  const std::string_view target = request.target;
  return target.substr(0, target.find('?'));
}

// ---- Changing the enclaves -------------------------------------------------------------------

// In the names of absl's codes: the error table, which is the callers', has none for these.
Reply Refused(const absl::Status& refused) {
  int status = 500;
  if (absl::IsInvalidArgument(refused)) status = 400;
  if (absl::IsNotFound(refused)) status = 404;
  if (absl::IsAlreadyExists(refused)) status = 409;
  if (absl::IsResourceExhausted(refused)) status = 409;
  if (absl::IsFailedPrecondition(refused)) status = 409;
  if (absl::IsCancelled(refused)) status = 503;
  return Refused(status, absl::StatusCodeToString(refused.code()), std::string(refused.message()));
}

std::optional<EnclaveChange::Kind> KindOf(std::string_view method) {
  if (method == "POST") return EnclaveChange::Kind::kAdd;
  if (method == "PATCH") return EnclaveChange::Kind::kSetWeight;
  if (method == "DELETE") return EnclaveChange::Kind::kRemove;
  return std::nullopt;
}

// Whether the kernel says that the other end of a Unix socket is root or the gateway's own user.
bool IsOwner(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

std::string ChangeJson(const EnclaveChange& change) {
  constexpr const char* kDone[] = {"added", "weight", "removed"};
  std::string body = R"({"address":)";
  AppendJsonString(change.address.ToString(), body);
  body += fmt::format(R"(,"change":"{}")", kDone[static_cast<std::size_t>(change.kind)]);
  if (change.kind != EnclaveChange::Kind::kRemove) {
    body += fmt::format(R"(,"weight":{})", change.weight);
  }
  body += R"(,"lasts":)";
  AppendJsonString(kLasts, body);
  return body + "}";
}

// ---- Keys ------------------------------------------------------------------------------------

struct KeysQuery {
  std::size_t limit = 100;
  std::optional<KeyId> after;
};

// "limit=10&after=<key id>", both optional.
Error ParseKeysQuery(std::string_view query, KeysQuery& out) {
  while (!query.empty()) {
    std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    std::size_t equals = pair.find('=');
    std::string_view name = pair.substr(0, equals);
    std::string_view value = equals == pair.npos ? std::string_view() : pair.substr(equals + 1);
    if (name == "limit") {
      auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), out.limit);
      if (ec != std::errc() || end != value.data() + value.size() || out.limit < 1 ||
          out.limit > limits::kAdminKeysPerPageMax) {
        return InvalidArgument(fmt::format("limit: got {}, want 1 to {}", Quoted(value),
                                           limits::kAdminKeysPerPageMax));
      }
    } else if (name == "after") {
      KeyId after;
      if (Error error = ParseKeyId(value, after); !error.ok()) return error;
      out.after = after;
    } else {
      return InvalidArgument(fmt::format("query: got {}, want limit and after", Quoted(name)));
    }
  }
  return {};
}

std::string KeysJson(const std::vector<KeyRow>& keys) {
  std::string body = R"({"keys":[)";
  for (const KeyRow& key : keys) {
    if (body.back() == '}') body += ',';
    AppendKey(key, body);
  }
  return body + "]}";
}

std::string ReasonsJson(const std::vector<std::string>& reasons) {
  std::string body = fmt::format(R"({{"ready":{},"reasons":[)", reasons.empty());
  for (std::size_t i = 0; i < reasons.size(); ++i) {
    if (i > 0) body += ',';
    AppendJsonString(reasons[i], body);
  }
  return body + "]}";
}

}  // namespace

// Shared with the list of keys that is under way: that may end after the server has stopped.
class AdminServer::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(Options options, Sources sources, Metrics& metrics)
      : options_(std::move(options)),
        sources_(std::move(sources)),
        metrics_(metrics),
        on_accept_pause_(Acceptor::CountIn(metrics, "admin")) {}

  absl::StatusOr<std::string> Start() {
    BULLA_CHECK(!thread_.joinable(), "AdminServer::Start is called once");
    BULLA_ASSIGN_OR_RETURN(tcp::endpoint endpoint, ParseListenEndpoint(options_.listen));
    BULLA_ASSIGN_OR_RETURN(tcp::acceptor listener, ListenOn(io_, endpoint, /*share=*/false));
    std::string address = AddressOf(listener);
    tcp_.emplace(io_.get_executor(), UniqueFd(listener.release()),
                 Acceptor::Options{.name = "admin", .on_pause = on_accept_pause_},
                 [this, family = endpoint.protocol().family()](UniqueFd fd) {
                   Take(std::move(fd), family, /*may_change=*/false);
                 });
    if (!options_.socket.empty()) BULLA_RETURN_IF_ERROR(ListenOnSocket());
    tcp_->Start();
    if (socket_) socket_->Start();
    thread_ = std::thread([this] {
      SetThreadName("admin");
      io_.run();
    });
    return address;
  }

  void Stop() {
    if (!thread_.joinable()) return;
    io_.stop();
    thread_.join();
    if (socket_) ::unlink(options_.socket.c_str());
  }

 private:
  // One connection: reads a request, answers it, reads the next. Kept alive by what it waits for.
  // Confined to the server's thread.
  class Session : public std::enable_shared_from_this<Session> {
    using State = HttpRequestReader::State;

   public:
    // Of one that is `surplus` there is room for the probes that say whether the gateway lives,
    // and for nothing else.
    Session(Impl& server, Socket socket, bool may_change, bool surplus)
        : server_(server), stream_(std::move(socket)), may_change_(may_change), surplus_(surplus) {
      ++server_.sessions_;
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session() { Leave(); }

    // Takes the next request, from its first byte on.
    void Read() {
      reader_.Reset();
      sent_continue_ = false;
      stream_.expires_after(kRequestPatience);
      waits_ = server_.waiting_.insert(server_.waiting_.end(), this);
      Advance();
    }

    // Gives its place up at once; it ends itself soon.
    void Close() {
      Leave();
      stream_.close();
    }

   private:
    void EndWait() {
      if (waits_) server_.waiting_.erase(*std::exchange(waits_, std::nullopt));
    }
    void Leave() {
      EndWait();
      if (!std::exchange(left_, true)) --server_.sessions_;
    }

    // Takes the list to the server's thread. It may come on any thread, and after Stop(), when
    // nobody runs what is posted any more. The order matters: a session ends before its server.
    struct ListDone {
      std::shared_ptr<Impl> server;
      std::shared_ptr<Session> session;

      void operator()(absl::StatusOr<std::vector<KeyRow>> keys) {
        asio::post(server->io_, [session = std::move(session), keys = std::move(keys)] {
          session->AnswerKeys(keys);
        });
      }
    };

    void Advance() {
      if (reader_.state() != State::kRefused) in_.erase(0, reader_.Consume(in_));
      HttpRefusal refusal = reader_.refusal();
      if (!refusal.any()) refusal = SendContinue();
      if (!refusal.any() && reader_.state() != State::kDone) return ReadMore();
      EndWait();
      server_.ids_.TakeInto(reader_.request().request_id, answer_.request_id);
      close_ = !reader_.keep_alive() || surplus_;
      refusal.any() ? Answer(Refused(refusal)) : Serve();
    }

    void ReadMore() {
      stream_.async_read_some(asio::buffer(fresh_),
                              [self = shared_from_this()](const error_code& ec, std::size_t bytes) {
                                self->OnRead(ec, bytes);
                              });
    }

    void OnRead(const error_code& ec, std::size_t bytes) {
      in_.append(fresh_.data(), bytes);
      if (ec == asio::error::eof) reader_.ConsumeEnd();
      if (ec && reader_.state() != State::kRefused) return EndWait();
      Advance();
    }

    // As the public listener does: HttpConnection::SendContinue.
    HttpRefusal SendContinue() {
      if (reader_.state() != State::kBody || sent_continue_ ||
          !reader_.request().expects_continue) {
        return {};
      }
      sent_continue_ = true;
      HttpRefusal refusal = CheckHeader(reader_.request());
      if (refusal.any()) return refusal;
      error_code ec;  // 25 bytes into an empty send buffer
      stream_.write_some(asio::buffer(kHttpContinue.data(), kHttpContinue.size()), ec);
      return {};
    }

    // What is wrong with a request whose header is there, and whose body need not be.
    HttpRefusal CheckHeader(const HttpRequest& request) const {
      if (HttpRefusal wrong = CheckHost(server_.options_.hosts, request); wrong.any()) return wrong;
      if (HttpRefusal wrong = CheckKnown(request); wrong.any()) return wrong;
      const std::string_view path = PathOf(request);
      if (!IsPath(path)) return NoSuchPath(path);
      const bool is_change = path == kEnclaves && KindOf(request.method);
      if (is_change && !may_change_) return server_.NotHere();
      if (!is_change) {
        if (HttpRefusal wrong = CheckMethod(request, Allowed(path)); wrong.any()) return wrong;
      }
      if (request.method == "OPTIONS") return {};
      if (HttpRefusal wrong = CheckPreconditions(request); wrong.any()) return wrong;
      if (is_change) return CheckContent(request);
      return request.has_body
                 ? Refuse(ErrorCode::kInvalidArgument, "body: got one, want none with GET")
                 : HttpRefusal{};
    }

    std::string_view Allowed(std::string_view path) const {
      return may_change_ && (path == kEnclaves || path == "*") ? kChanges : kGets;
    }

    static Reply TooMany() {
      return Refused(503, "RETRY_LATER",
                     fmt::format("connection: all {} are at work; only /healthz and /readyz are "
                                 "answered now",
                                 limits::kAdminConnectionsMax));
    }

    void Serve() {
      const HttpRequest& request = reader_.request();
      const std::string_view path = PathOf(request);
      if (surplus_ && path != "/healthz" && !path.starts_with("/readyz")) return Answer(TooMany());
      if (HttpRefusal refusal = CheckHeader(request); refusal.any())
        return Answer(Refused(refusal));
      if (request.method == "OPTIONS") {
        return Answer({.status = 204, .field = {"Allow", Allowed(path)}});
      }
      if (std::optional<EnclaveChange::Kind> kind = KindOf(request.method)) {
        return Answer(ChangeEnclave(request.body, *kind));
      }
      if (path != "/keys") return Answer(server_.Page(path));
      const std::string_view query = std::string_view(request.target).substr(path.size());
      ListKeys(query.empty() ? query : query.substr(1));
    }

    Reply ChangeEnclave(std::string_view body, EnclaveChange::Kind kind) {
      absl::StatusOr<EnclaveChange> change = ParseEnclaveChange(kind, body);
      if (!change.ok()) return Refused(change.status());
      absl::Status changed = server_.sources_.change_enclave(*change);
      if (!changed.ok()) return Refused(changed);
      return {.body = ChangeJson(*change)};
    }

    void ListKeys(std::string_view query_text) {
      KeysQuery query;
      if (Error error = ParseKeysQuery(query_text, query); !error.ok()) {
        return Answer(Refused(error));
      }
      server_.sources_.list_keys(query.after, query.limit,
                                 ListDone{server_.shared_from_this(), shared_from_this()});
    }

    void AnswerKeys(const absl::StatusOr<std::vector<KeyRow>>& keys) {
      if (keys.ok()) return Answer({.body = KeysJson(*keys)});
      LogWarn("admin_list_keys_failed", {{"error", keys.status().ToString()}});
      Answer(Refused(Error{ErrorCode::kUnavailable, ""}));
    }

    void Answer(Reply reply) {
      answer_.status = reply.status;
      answer_.body = reply.error.empty() ? std::move(reply.body) : ErrorJson(reply);
      answer_.content_type = reply.content_type;
      answer_.field = reply.field;
      out_.clear();
      AppendAnswer(answer_, reader_.request(), FormatHttpDate(server_.clock_.WallNow()), close_,
                   out_);
      stream_.expires_after(kAnswerPatience);
      asio::async_write(stream_, asio::buffer(out_),
                        [self = shared_from_this()](const error_code& ec, std::size_t) {
                          if (!ec) self->close_ ? self->Linger() : self->Read();
                        });
    }

    std::string ErrorJson(const Reply& reply) const {
      std::string body = fmt::format(R"({{"error":{{"code":"{}","message":)", reply.error);
      AppendJsonString(reply.message, body);
      return body + fmt::format(R"(,"requestId":"{}"}}}})", answer_.request_id);
    }

    // Closing at once, with something unread, would destroy the answer on its way.
    void Linger() {
      error_code ec;
      stream_.socket().shutdown(Socket::shutdown_send, ec);
      if (ec) return;
      stream_.expires_after(limits::kHttpLingerTimeout);
      waits_ = server_.waiting_.insert(server_.waiting_.end(), this);
      Drop();
    }

    void Drop() {
      stream_.async_read_some(asio::buffer(fresh_),
                              [self = shared_from_this()](const error_code& ec, std::size_t bytes) {
                                self->dropped_bytes_ += bytes;
                                if (ec || self->dropped_bytes_ > limits::kHttpLingerBytesMax) {
                                  return self->EndWait();
                                }
                                self->Drop();
                              });
    }

    Impl& server_;
    beast::basic_stream<asio::generic::stream_protocol> stream_;
    const bool may_change_;
    const bool surplus_;
    std::optional<std::list<Session*>::iterator> waits_;  // its place in waiting_
    bool left_ = false;
    HttpRequestReader reader_{limits::kAdminBodyBytesMax};
    std::array<char, 4096> fresh_;  // what a read brings
    std::string in_;                // what of it is not yet taken
    bool sent_continue_ = false;
    bool close_ = false;
    HttpAnswer answer_;
    std::string out_;
    std::size_t dropped_bytes_ = 0;
  };

  absl::Status ListenOnSocket() {
    BULLA_ASSIGN_OR_RETURN(Address address, Address::Parse("unix:" + options_.socket));
    BULLA_ASSIGN_OR_RETURN(UniqueFd fd, Listen(address));
    socket_.emplace(io_.get_executor(), std::move(fd),
                    Acceptor::Options{.name = "admin_socket", .on_pause = on_accept_pause_},
                    [this](UniqueFd peer) {
                      const bool is_owner = IsOwner(peer.get());
                      Take(std::move(peer), AF_UNIX, is_owner);
                    });
    return absl::OkStatus();
  }

  // Whoever waits for its next request makes room for a newcomer, the one that has waited longest
  // first. So idle connections keep nobody out, and only when all are at work is there no room but
  // for probes.
  void Take(UniqueFd fd, int family, bool may_change) {
    Socket socket(io_);
    error_code error;
    if (socket.assign(asio::generic::stream_protocol(family, 0), fd.get(), error)) return;
    fd.Release();
    if (sessions_ >= limits::kAdminConnectionsMax && !waiting_.empty()) waiting_.front()->Close();
    if (sessions_ >= limits::kAdminConnectionsMax + limits::kAdminProbesMax) return;
    const bool surplus = sessions_ >= limits::kAdminConnectionsMax;
    std::make_shared<Session>(*this, std::move(socket), may_change, surplus)->Read();
  }

  // Who asks over TCP, or is not the owner, is told where changes are made.
  HttpRefusal NotHere() const {
    return Refuse(
        ErrorCode::kPermissionDenied,
        options_.socket.empty()
            ? "enclaves: change them in the gateway's configuration file, or set admin.socket "
              "there and use `bulla enclaves`"
            : fmt::format("enclaves: they are changed over the Unix socket {} by root or the "
                          "gateway's own user: bulla enclaves --admin-socket {}",
                          options_.socket, options_.socket));
  }

  // "*" is for OPTIONS alone, of the listener as a whole.
  static bool IsPath(std::string_view path) {
    static constexpr std::array<std::string_view, 8> kPaths = {
        "/healthz", "/readyz", "/readyz/sign", "/metrics", "/status", "/keys", kEnclaves, "*"};
    return std::find(kPaths.begin(), kPaths.end(), path) != kPaths.end();
  }

  static HttpRefusal NoSuchPath(std::string_view path) {
    return Refuse(404, ErrorCode::kInvalidArgument,
                  fmt::format("path: got {}, want /healthz, /readyz, /readyz/sign, /metrics, "
                              "/status, /keys or /enclaves",
                              Quoted(path)));
  }

  // Requires: IsPath, and neither "*" nor "/keys".
  Reply Page(std::string_view path) {
    if (path == "/healthz") return {.body = R"({"alive":true})"};
    if (path == "/metrics") {
      return {.body = metrics_.Exposition(), .content_type = kPrometheusText};
    }
    if (path == "/status") return {.body = sources_.status_json()};
    if (path == kEnclaves) return {.body = sources_.enclaves_json()};
    std::vector<std::string> reasons =
        path == "/readyz" ? sources_.not_ready_because() : sources_.not_ready_to_sign_because();
    return {.status = reasons.empty() ? 200 : 503, .body = ReasonsJson(reasons)};
  }

  const Options options_;
  const Sources sources_;
  const Metrics& metrics_;
  const std::function<void()> on_accept_pause_;
  const RealClock clock_;
  RequestIdSource ids_;  // confined to the thread
  // Declared before io_, whose destruction ends the last sessions.
  std::size_t sessions_ = 0;
  std::list<Session*> waiting_;  // of those, for a request; since longest first
  asio::io_context io_{1};
  std::optional<Acceptor> tcp_;
  std::optional<Acceptor> socket_;
  std::thread thread_;
};

AdminServer::AdminServer(Options options, Sources sources, Metrics& metrics)
    : impl_(std::make_shared<Impl>(std::move(options), std::move(sources), metrics)) {}

AdminServer::~AdminServer() { Stop(); }

absl::StatusOr<std::string> AdminServer::Start() { return impl_->Start(); }
void AdminServer::Stop() { impl_->Stop(); }

}  // namespace bulla
