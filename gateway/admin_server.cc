#include "gateway/admin_server.h"

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
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "base/acceptor.h"
#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/thread.h"
#include "gateway/call_rules.h"
#include "gateway/http_json.h"
#include "gateway/tcp_listen.h"
#include "wire/address.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

using Socket = asio::generic::stream_protocol::socket;  // of TCP or of a Unix socket
using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

constexpr char kJson[] = "application/json";
constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";
// For a request, from the answer before it on. A scraper that comes less often connects again.
constexpr std::chrono::seconds kRequestPatience{10};
constexpr std::chrono::seconds kAnswerPatience{30};
constexpr char kLasts[] =
    "until the gateway restarts, or `enclaves` in its configuration changes; to make it last, "
    "change `enclaves` there too";

Response MakeResponse(http::status status, std::string_view content_type, std::string body) {
  Response response(status, 11);
  response.set(http::field::content_type,
               beast::string_view(content_type.data(), content_type.size()));
  response.set(http::field::cache_control, "no-store");
  response.body() = std::move(body);
  return response;
}

Response MakeError(http::status status, const Error& error) {
  std::string body;
  AppendError(error, "admin", 0, body);
  return MakeResponse(status, kJson, std::move(body));
}

// ---- Changing the enclaves -------------------------------------------------------------------

// What the error table, which is the callers', has no names for.
Response MakeRefusal(http::status status, std::string_view code, std::string_view message) {
  std::string body = fmt::format(R"({{"error":{{"code":"{}","message":)", code);
  AppendJsonString(message, body);
  return MakeResponse(status, kJson, body + R"(,"requestId":"admin"}})");
}

Response MakeRefusal(const absl::Status& refused) {
  const std::string code = absl::StatusCodeToString(refused.code());
  http::status status = http::status::internal_server_error;
  if (absl::IsInvalidArgument(refused)) status = http::status::bad_request;
  if (absl::IsNotFound(refused)) status = http::status::not_found;
  if (absl::IsAlreadyExists(refused)) status = http::status::conflict;
  if (absl::IsResourceExhausted(refused)) status = http::status::conflict;
  if (absl::IsFailedPrecondition(refused)) status = http::status::conflict;
  if (absl::IsCancelled(refused)) status = http::status::service_unavailable;
  return MakeRefusal(status, code, std::string(refused.message()));
}

std::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

std::optional<EnclaveChange::Kind> KindOf(http::verb method) {
  switch (method) {
    case http::verb::post:
      return EnclaveChange::Kind::kAdd;
    case http::verb::patch:
      return EnclaveChange::Kind::kSetWeight;
    case http::verb::delete_:
      return EnclaveChange::Kind::kRemove;
    default:
      return std::nullopt;
  }
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

    void Read() {
      parser_.emplace();
      parser_->header_limit(limits::kHttpHeaderBytesMax);
      parser_->body_limit(limits::kAdminBodyBytesMax);
      stream_.expires_after(kRequestPatience);
      waits_ = server_.waiting_.insert(server_.waiting_.end(), this);
      http::async_read(stream_, buffer_, *parser_,
                       [self = shared_from_this()](const error_code& ec, std::size_t) {
                         self->EndWait();
                         if (ec == http::error::end_of_stream || !self->parser_->got_some()) return;
                         if (!ec) return self->Serve();
                         self->close_ = true;
                         self->Answer(Unreadable(ec));
                       });
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

    static Response Unreadable(const error_code& ec) {
      if (ec != http::error::body_limit) {
        return MakeError(http::status::bad_request, InvalidArgument("request: " + ec.message()));
      }
      return MakeError(http::status::payload_too_large,
                       {ErrorCode::kPayloadTooLarge,
                        fmt::format("body: over {} bytes", limits::kAdminBodyBytesMax)});
    }

    static Response TooMany() {
      return MakeRefusal(
          http::status::service_unavailable, "RETRY_LATER",
          fmt::format("connection: all {} are at work; only /healthz and /readyz are "
                      "answered now",
                      limits::kAdminConnectionsMax));
    }

    void Serve() {
      const Request& request = parser_->get();
      close_ = !request.keep_alive();
      is_head_ = request.method() == http::verb::head;
      std::string_view target = View(request.target());
      if (surplus_) {
        close_ = true;
        if (target != "/healthz" && !target.starts_with("/readyz")) return Answer(TooMany());
      }
      if (target == "/enclaves") {
        if (std::optional<EnclaveChange::Kind> kind = KindOf(request.method())) {
          return Answer(ChangeEnclave(request, *kind));
        }
      }
      if (!is_head_ && request.method() != http::verb::get) {
        Response response = MakeError(http::status::method_not_allowed,
                                      InvalidArgument("method: the admin listener takes GET; "
                                                      "/enclaves also POST, PATCH and DELETE, over "
                                                      "its Unix socket"));
        const bool changes = may_change_ && target == "/enclaves";
        response.set(http::field::allow, changes ? "GET, HEAD, POST, PATCH, DELETE" : "GET, HEAD");
        return Answer(std::move(response));
      }
      if (!request.body().empty()) {
        return Answer(MakeError(http::status::bad_request,
                                InvalidArgument("body: got one, want none with GET")));
      }
      std::string_view path = target.substr(0, target.find('?'));
      if (path == "/keys") {
        return ListKeys(path.size() < target.size() ? target.substr(path.size() + 1) : "");
      }
      Answer(server_.Page(path));
    }

    Response ChangeEnclave(const Request& request, EnclaveChange::Kind kind) {
      if (!may_change_) return server_.NotHere();
      absl::StatusOr<EnclaveChange> change = ParseEnclaveChange(kind, request.body());
      if (!change.ok()) return MakeRefusal(change.status());
      absl::Status changed = server_.sources_.change_enclave(*change);
      if (!changed.ok()) return MakeRefusal(changed);
      return MakeResponse(http::status::ok, kJson, ChangeJson(*change));
    }

    void ListKeys(std::string_view query_text) {
      KeysQuery query;
      if (Error error = ParseKeysQuery(query_text, query); !error.ok()) {
        return Answer(MakeError(http::status::bad_request, error));
      }
      server_.sources_.list_keys(query.after, query.limit,
                                 ListDone{server_.shared_from_this(), shared_from_this()});
    }

    void AnswerKeys(const absl::StatusOr<std::vector<KeyRow>>& keys) {
      if (keys.ok()) return Answer(MakeResponse(http::status::ok, kJson, KeysJson(*keys)));
      LogWarn("admin_list_keys_failed", {{"error", keys.status().ToString()}});
      Answer(MakeError(http::status::service_unavailable, {ErrorCode::kUnavailable, ""}));
    }

    void Answer(Response response) {
      response.keep_alive(!close_);
      response.prepare_payload();
      if (is_head_) response.body().clear();
      response_ = std::move(response);
      stream_.expires_after(kAnswerPatience);
      http::async_write(stream_, response_,
                        [self = shared_from_this()](const error_code& ec, std::size_t) {
                          if (!ec && !self->close_) self->Read();
                        });
    }

    Impl& server_;
    beast::basic_stream<asio::generic::stream_protocol> stream_;
    const bool may_change_;
    const bool surplus_;
    std::optional<std::list<Session*>::iterator> waits_;  // its place in waiting_
    bool left_ = false;
    beast::flat_buffer buffer_{2 * limits::kHttpHeaderBytesMax};
    std::optional<http::request_parser<http::string_body>> parser_;
    Response response_;
    bool close_ = false;
    bool is_head_ = false;
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
  Response NotHere() const {
    return MakeRefusal(
        http::status::forbidden, "PERMISSION_DENIED",
        options_.socket.empty()
            ? "enclaves: change them in the gateway's configuration file, or set admin.socket "
              "there and use `bulla enclaves`"
            : fmt::format("enclaves: they are changed over the Unix socket {} by root or the "
                          "gateway's own user: bulla enclaves --admin-socket {}",
                          options_.socket, options_.socket));
  }

  Response Page(std::string_view path) {
    if (path == "/healthz") return MakeResponse(http::status::ok, kJson, R"({"alive":true})");
    if (path == "/metrics") {
      return MakeResponse(http::status::ok, kPrometheusText, metrics_.Exposition());
    }
    if (path == "/status") {
      return MakeResponse(http::status::ok, kJson, sources_.status_json());
    }
    if (path == "/enclaves") {
      return MakeResponse(http::status::ok, kJson, sources_.enclaves_json());
    }
    if (path == "/readyz" || path == "/readyz/sign") {
      std::vector<std::string> reasons =
          path == "/readyz" ? sources_.not_ready_because() : sources_.not_ready_to_sign_because();
      return MakeResponse(reasons.empty() ? http::status::ok : http::status::service_unavailable,
                          kJson, ReasonsJson(reasons));
    }
    return MakeError(
        http::status::not_found,
        InvalidArgument(fmt::format("path: got {}, want /healthz, /readyz, /readyz/sign, /metrics, "
                                    "/status, /keys or /enclaves",
                                    Quoted(path))));
  }

  const Options options_;
  const Sources sources_;
  const Metrics& metrics_;
  const std::function<void()> on_accept_pause_;
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
