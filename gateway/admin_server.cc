#include "gateway/admin_server.h"

#include <charconv>
#include <fmt/format.h>
#include <thread>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/thread.h"
#include "gateway/call_rules.h"
#include "gateway/http_json.h"
#include "gateway/tcp_listen.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

constexpr char kJson[] = "application/json";
constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::chrono::seconds kPatience{30};  // per request, reading and writing
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

// Whether parameters follow, such as a charset, does not matter.
bool IsJson(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (content_type.ends_with(' ')) content_type.remove_suffix(1);
  return beast::iequals({content_type.data(), content_type.size()}, kJson);
}

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

// Nothing when a browser cannot have sent it.
std::optional<Response> RefuseBrowsers(const Request& request) {
  for (const char* field : {"Origin", "Sec-Fetch-Site"}) {
    if (request.find(field) == request.end()) continue;
    return MakeRefusal(http::status::forbidden, "PERMISSION_DENIED",
                       fmt::format("{}: got {}, want none: no change is taken from a browser",
                                   field, Quoted(View(request[field]))));
  }
  const std::string_view type = View(request[http::field::content_type]);
  if (IsJson(type)) return std::nullopt;
  return MakeRefusal(http::status::unsupported_media_type, "INVALID_ARGUMENT",
                     fmt::format("Content-Type: got {}, want {}", Quoted(type), kJson));
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
  Impl(std::string listen, Sources sources, const Metrics& metrics)
      : listen_(std::move(listen)), sources_(std::move(sources)), metrics_(metrics) {}

  absl::StatusOr<std::string> Start() {
    BULLA_CHECK(!thread_.joinable(), "AdminServer::Start is called once");
    BULLA_ASSIGN_OR_RETURN(tcp::endpoint endpoint, ParseListenEndpoint(listen_));
    BULLA_ASSIGN_OR_RETURN(acceptor_, ListenOn(io_, endpoint, /*share=*/false));
    std::string address = AddressOf(*acceptor_);
    Accept();
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
  }

 private:
  // One connection: reads a request, answers it, reads the next. Kept alive by what it waits for.
  // Confined to the server's thread.
  class Session : public std::enable_shared_from_this<Session> {
   public:
    Session(Impl& server, tcp::socket socket) : server_(server), stream_(std::move(socket)) {
      ++server_.sessions_;
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session() { --server_.sessions_; }

    void Read() {
      parser_.emplace();
      parser_->header_limit(limits::kHttpHeaderBytesMax);
      parser_->body_limit(limits::kAdminBodyBytesMax);
      stream_.expires_after(kPatience);
      http::async_read(stream_, buffer_, *parser_,
                       [self = shared_from_this()](const error_code& ec, std::size_t) {
                         if (ec == http::error::end_of_stream || !self->parser_->got_some()) return;
                         if (!ec) return self->Serve();
                         self->close_ = true;
                         self->Answer(Unreadable(ec));
                       });
    }

   private:
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

    void Serve() {
      const Request& request = parser_->get();
      close_ = !request.keep_alive();
      is_head_ = request.method() == http::verb::head;
      std::string_view target = View(request.target());
      if (target == "/enclaves") {
        if (std::optional<EnclaveChange::Kind> kind = KindOf(request.method())) {
          return Answer(ChangeEnclave(request, *kind));
        }
      }
      if (!is_head_ && request.method() != http::verb::get) {
        Response response = MakeError(http::status::method_not_allowed,
                                      InvalidArgument("method: the admin listener takes GET; "
                                                      "/enclaves also POST, PATCH and DELETE"));
        response.set(http::field::allow,
                     target == "/enclaves" ? "GET, HEAD, POST, PATCH, DELETE" : "GET, HEAD");
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
      error_code ec;  // of a connection that is gone: no address, and none of this host
      const asio::ip::address peer = stream_.socket().remote_endpoint(ec).address();
      if (!peer.is_loopback()) {
        return MakeRefusal(http::status::forbidden, "PERMISSION_DENIED",
                           fmt::format("connection: from {}, want one from a loopback address: "
                                       "changes are made on this host",
                                       peer.to_string()));
      }
      if (std::optional<Response> refusal = RefuseBrowsers(request)) return *std::move(refusal);
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
      stream_.expires_after(kPatience);
      http::async_write(stream_, response_,
                        [self = shared_from_this()](const error_code& ec, std::size_t) {
                          if (!ec && !self->close_) self->Read();
                        });
    }

    Impl& server_;
    beast::tcp_stream stream_;
    beast::flat_buffer buffer_{2 * limits::kHttpHeaderBytesMax};
    std::optional<http::request_parser<http::string_body>> parser_;
    Response response_;
    bool close_ = false;
    bool is_head_ = false;
  };

  void Accept() {
    acceptor_->async_accept([this](const error_code& ec, tcp::socket socket) {
      if (ec == asio::error::operation_aborted) return;
      if (ec) LogWarn("admin_accept_failed", {{"error", ec.message()}});
      // Over the limit, the socket is closed again at once.
      if (!ec && sessions_ < limits::kAdminConnectionsMax) {
        std::make_shared<Session>(*this, std::move(socket))->Read();
      }
      Accept();
    });
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

  const std::string listen_;
  const Sources sources_;
  const Metrics& metrics_;
  std::size_t sessions_ = 0;  // declared before io_, whose destruction ends the last of them
  asio::io_context io_{1};
  std::optional<tcp::acceptor> acceptor_;
  std::thread thread_;
};

AdminServer::AdminServer(std::string listen, Sources sources, const Metrics& metrics)
    : impl_(std::make_shared<Impl>(std::move(listen), std::move(sources), metrics)) {}

AdminServer::~AdminServer() { Stop(); }

absl::StatusOr<std::string> AdminServer::Start() { return impl_->Start(); }
void AdminServer::Stop() { impl_->Stop(); }

}  // namespace bulla
