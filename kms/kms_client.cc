#include "kms/kms_client.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <sys/socket.h>
#include <vector>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>

#include "base/errno_text.h"
#include "base/mutex.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace json = boost::json;
using boost::system::error_code;

constexpr std::string_view kService = "kms";
constexpr std::string_view kContextName = "bulla:dek";
// The largest honest reply holds two base64 texts of 6144 bytes each.
constexpr std::size_t kReplyBodyBytesMax = 64 * 1024;
constexpr std::uint32_t kReplyHeaderBytesMax = 16 * 1024;
constexpr std::size_t kReplyDepthMax = 8;
// Unlocks are rare and come a few at a time; more at once is a fault upstream.
constexpr int kCallsMax = 8;
constexpr std::size_t kIdleConnectionsMax = 2;
constexpr std::size_t kMessageCharsMax = 200;

// Text of a peer's, fit for a Status and a log line.
std::string Printable(std::string_view text) {
  std::string out(text.substr(0, kMessageCharsMax));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

// "com.amazonaws.kms#NotFoundException:http://..." names NotFoundException.
std::string_view ErrorName(std::string_view type) {
  if (std::size_t hash = type.find('#'); hash != std::string_view::npos)
    type = type.substr(hash + 1);
  return type.substr(0, type.find(':'));
}

absl::Status BrokenReply(std::string_view what) {
  return absl::InternalError(fmt::format("KMS reply: {}", what));
}

// The string member `name`; empty where it is missing or null.
absl::StatusOr<std::string_view> StringMember(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (!value || value->is_null()) return std::string_view();
  const json::string* text = value->if_string();
  if (!text) return BrokenReply(fmt::format("{} is not a string", name));
  return std::string_view(text->data(), text->size());
}

absl::StatusOr<Bytes> Base64Member(const json::object& object, std::string_view name,
                                   std::size_t max_bytes) {
  BULLA_ASSIGN_OR_RETURN(std::string_view text, StringMember(object, name));
  std::optional<Bytes> bytes = Base64Decode(text, max_bytes);
  if (!bytes || bytes->empty()) return BrokenReply(fmt::format("{} is missing or wrong", name));
  return *std::move(bytes);
}

absl::StatusOr<json::object> ParseReply(std::string_view body) {
  json::parse_options options;
  options.max_depth = kReplyDepthMax;
  error_code error;
  json::value value = json::parse(body, error, {}, options);
  if (error || !value.is_object()) return BrokenReply("is not a JSON object");
  return std::move(value.as_object());
}

using Response = http::response<http::string_body>;

absl::Status ErrorReply(const Response& response) {
  std::string_view name;
  std::string_view message;
  absl::StatusOr<json::object> body = ParseReply(response.body());
  if (body.ok()) {
    name = StringMember(*body, "__type").value_or("");
    message = StringMember(*body, "message").value_or("");
    if (message.empty()) message = StringMember(*body, "Message").value_or("");
  }
  if (name.empty()) {
    auto header = response["x-amzn-ErrorType"];
    name = std::string_view(header.data(), header.size());
  }
  return KmsErrorToStatus(ErrorName(name), message, static_cast<int>(response.result_int()));
}

absl::Status Unreachable(std::string_view what, const error_code& error) {
  if (error == beast::error::timeout) {
    return absl::DeadlineExceededError(fmt::format("KMS: {}: out of time", what));
  }
  return absl::UnavailableError(fmt::format("KMS: {}: {}", what, error.message()));
}

// One TLS connection and the loop that drives it. Confined to one thread at a time.
class Connection {
 public:
  explicit Connection(asio::ssl::context& tls) : stream_(loop_, tls) {}

  absl::Status InsertWarm(UniqueFd fd) {
    int family = 0;
    socklen_t size = sizeof family;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) {
      return absl::InternalError(fmt::format("KMS: not a socket: {}", ErrnoText(errno)));
    }
    error_code error;
    stream_.next_layer().socket().assign(asio::generic::stream_protocol(family, 0), fd.get(),
                                         error);
    if (error) return Unreachable("socket", error);
    static_cast<void>(fd.Release());
    return absl::OkStatus();
  }

  absl::Status Handshake(const std::string& host, WallTime now, Duration timeout) {
    SSL* ssl = stream_.native_handle();
    if (SSL_set_tlsext_host_name(ssl, host.c_str()) != 1 || SSL_set1_host(ssl, host.c_str()) != 1) {
      return absl::InternalError("KMS: cannot set the host name for TLS");
    }
    X509_VERIFY_PARAM_set_time(SSL_get0_param(ssl), std::chrono::system_clock::to_time_t(now));
    stream_.next_layer().expires_after(timeout);
    error_code error =
        Run([&](auto done) { stream_.async_handshake(asio::ssl::stream_base::client, done); });
    if (!error) return absl::OkStatus();
    if (long verdict = SSL_get_verify_result(ssl); verdict != X509_V_OK) {
      return WithCause(
          absl::PermissionDeniedError(fmt::format("KMS: the peer is not {}: {}", host,
                                                  X509_verify_cert_error_string(verdict))),
          UnlockCause::kUnavailable);
    }
    return Unreachable("TLS handshake", error);
  }

  absl::StatusOr<Response> RoundTrip(http::request<http::string_body>& request, Duration timeout) {
    stream_.next_layer().expires_after(timeout);  // for both directions together
    error_code error = Run([&](auto done) {
      http::async_write(stream_, request, [done](error_code e, std::size_t) { done(e); });
    });
    if (error) return Unreachable("sending", error);
    http::response_parser<http::string_body> parser;
    parser.body_limit(kReplyBodyBytesMax);
    parser.header_limit(kReplyHeaderBytesMax);
    error = Run([&](auto done) {
      http::async_read(stream_, buffer_, parser, [done](error_code e, std::size_t) { done(e); });
    });
    if (error == http::error::body_limit || error == http::error::header_limit) {
      return BrokenReply("over its limit");
    }
    if (error) return Unreachable("receiving", error);
    return parser.release();
  }

 private:
  // Starts an operation and drives the loop until it has ended, by itself or by the time-out.
  template <typename Start>
  error_code Run(Start start) {
    error_code result = asio::error::operation_aborted;
    start([&result](error_code error) { result = error; });
    loop_.restart();
    loop_.run();
    return result;
  }

  asio::io_context loop_{1};
  asio::ssl::stream<beast::basic_stream<asio::generic::stream_protocol>> stream_;
  beast::flat_buffer buffer_{kReplyBodyBytesMax + kReplyHeaderBytesMax};
};

struct ErrorRow {
  std::string_view name;
  absl::StatusCode code;
  UnlockCause cause;
};

using C = absl::StatusCode;
using U = UnlockCause;

// Names of KMS's and of the signature layer before it.
constexpr std::array kErrors = {
    ErrorRow{"ThrottlingException", C::kResourceExhausted, U::kThrottled},
    ErrorRow{"LimitExceededException", C::kResourceExhausted, U::kThrottled},
    ErrorRow{"RequestLimitExceeded", C::kResourceExhausted, U::kThrottled},
    ErrorRow{"KMSInternalException", C::kUnavailable, U::kUnavailable},
    ErrorRow{"DependencyTimeoutException", C::kUnavailable, U::kUnavailable},
    ErrorRow{"KeyUnavailableException", C::kUnavailable, U::kUnavailable},
    ErrorRow{"InternalFailure", C::kUnavailable, U::kUnavailable},
    ErrorRow{"ServiceUnavailableException", C::kUnavailable, U::kUnavailable},
    ErrorRow{"RequestTimeoutException", C::kUnavailable, U::kUnavailable},
    ErrorRow{"AccessDeniedException", C::kPermissionDenied, U::kAccessDenied},
    ErrorRow{"NotFoundException", C::kNotFound, U::kKeyNotFound},
    ErrorRow{"DisabledException", C::kFailedPrecondition, U::kKeyDisabled},
    ErrorRow{"KMSInvalidStateException", C::kFailedPrecondition, U::kKeyDisabled},
    ErrorRow{"InvalidCiphertextException", C::kInvalidArgument, U::kForeignCiphertext},
    ErrorRow{"IncorrectKeyException", C::kInvalidArgument, U::kForeignCiphertext},
    ErrorRow{"InvalidKeyUsageException", C::kInvalidArgument, U::kRefused},
    ErrorRow{"InvalidGrantTokenException", C::kInvalidArgument, U::kRefused},
    ErrorRow{"UnsupportedOperationException", C::kInvalidArgument, U::kRefused},
    ErrorRow{"ValidationException", C::kInvalidArgument, U::kRefused},
    ErrorRow{"SerializationException", C::kInvalidArgument, U::kRefused},
    ErrorRow{"ExpiredTokenException", C::kUnauthenticated, U::kCredentials},
    ErrorRow{"UnrecognizedClientException", C::kUnauthenticated, U::kCredentials},
    ErrorRow{"InvalidSignatureException", C::kUnauthenticated, U::kCredentials},
    ErrorRow{"IncompleteSignature", C::kUnauthenticated, U::kCredentials},
    ErrorRow{"IncompleteSignatureException", C::kUnauthenticated, U::kCredentials},
    ErrorRow{"MissingAuthenticationToken", C::kUnauthenticated, U::kCredentials},
    ErrorRow{"MissingAuthenticationTokenException", C::kUnauthenticated, U::kCredentials},
};

ErrorRow RowOfUnknownName(int http_status) {
  if (http_status == 429) return {"", C::kResourceExhausted, U::kThrottled};
  if (http_status >= 500) return {"", C::kUnavailable, U::kUnavailable};
  if (http_status == 401) return {"", C::kUnauthenticated, U::kCredentials};
  if (http_status == 403) return {"", C::kPermissionDenied, U::kAccessDenied};
  return {"", C::kFailedPrecondition, U::kRefused};
}

}  // namespace

absl::Status KmsErrorToStatus(std::string_view name, std::string_view message, int http_status) {
  auto known = std::find_if(kErrors.begin(), kErrors.end(),
                            [&](const ErrorRow& r) { return r.name == name; });
  const ErrorRow row = known != kErrors.end() ? *known : RowOfUnknownName(http_status);
  return WithCause(absl::Status(row.code, fmt::format("KMS: {} (HTTP {}): {}", Printable(name),
                                                      http_status, Printable(message))),
                   row.cause);
}

class KmsClient::Impl {
 public:
  explicit Impl(KmsClientOptions options)
      : options_(std::move(options)), tls_(asio::ssl::context::tls_client) {}

  absl::Status Start() {
    if (SSL_CTX_set_min_proto_version(tls_.native_handle(), TLS1_2_VERSION) != 1) {
      return absl::InternalError("KMS: TLS 1.2 is not available");
    }
    tls_.set_verify_mode(asio::ssl::verify_peer);
    error_code error;
    tls_.add_certificate_authority(asio::buffer(options_.ca_pem), error);
    if (error || options_.ca_pem.empty()) {
      return absl::InvalidArgumentError("KMS: the trust roots are not PEM certificates");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<json::object> Call(std::string_view operation, json::object body,
                                    const AwsCredentials& credentials, const DekId& dek_id,
                                    MonotonicTime deadline) BULLA_EXCLUDES(mutex_) {
    BULLA_RETURN_IF_ERROR(WithCause(CheckAwsCredentials(credentials), UnlockCause::kCredentials));
    Slot slot(*this);
    if (!slot.taken()) {
      return WithCause(
          absl::ResourceExhaustedError(fmt::format("KMS: {} calls under way", kCallsMax)),
          UnlockCause::kThrottled);
    }
    BULLA_ASSIGN_OR_RETURN(Bytes document,
                           options_.nsm->Attest({}, {}, options_.recipient->public_key()));
    body["KeyId"] = options_.key_arn;
    body["EncryptionContext"] = json::object{{kContextName, dek_id.ToString()}};
    body["Recipient"] = json::object{{"KeyEncryptionAlgorithm", "RSAES_OAEP_SHA_256"},
                                     {"AttestationDocument", Base64Encode(document)}};
    BULLA_ASSIGN_OR_RETURN(http::request<http::string_body> request,
                           SignedRequest(operation, json::serialize(body), credentials));
    BULLA_ASSIGN_OR_RETURN(Response response, Send(request, deadline));
    if (response.result() != http::status::ok) return ErrorReply(response);
    BULLA_ASSIGN_OR_RETURN(json::object reply, ParseReply(response.body()));
    BULLA_ASSIGN_OR_RETURN(std::string_view key_id, StringMember(reply, "KeyId"));
    if (key_id != options_.key_arn) return BrokenReply("names another key than was asked for");
    return reply;
  }

  // The data key in a reply, which must not also be there in plain text.
  absl::StatusOr<Secret<32>> OpenReply(const json::object& reply) const {
    BULLA_ASSIGN_OR_RETURN(std::string_view plaintext, StringMember(reply, "Plaintext"));
    if (!plaintext.empty()) return BrokenReply("holds a key in plain text");
    BULLA_ASSIGN_OR_RETURN(Bytes envelope, Base64Member(reply, "CiphertextForRecipient",
                                                        kCiphertextForRecipientBytesMax));
    return options_.recipient->Open(envelope);
  }

  const KmsClientOptions& options() const { return options_; }

 private:
  // A place among the calls under way, for the length of one call.
  class Slot {
   public:
    explicit Slot(Impl& impl) : impl_(impl) {
      MutexLock lock(impl_.mutex_);
      taken_ = impl_.calls_ < kCallsMax;
      if (taken_) ++impl_.calls_;
    }
    ~Slot() {
      MutexLock lock(impl_.mutex_);
      if (taken_) --impl_.calls_;
    }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    bool taken() const { return taken_; }

   private:
    Impl& impl_;
    bool taken_ = false;
  };

  absl::StatusOr<http::request<http::string_body>> SignedRequest(
      std::string_view operation, std::string body, const AwsCredentials& credentials) const {
    std::string date = AmzDate(options_.clock->WallNow());
    SigV4Request to_sign{.method = "POST", .path = "/", .query = "", .headers = {}, .body = {}};
    to_sign.headers = {{"Content-Type", "application/x-amz-json-1.1"},
                       {"Host", options_.kms_host},
                       {"X-Amz-Date", date},
                       {"X-Amz-Target", fmt::format("TrentService.{}", operation)}};
    if (!credentials.session_token.empty()) {
      to_sign.headers.emplace_back("X-Amz-Security-Token", credentials.session_token);
    }
    to_sign.body = AsBytes(body);
    SigV4Scope scope{date.substr(0, 8), options_.region, std::string(kService)};
    BULLA_ASSIGN_OR_RETURN(std::string authorization,
                           SigV4Authorization(to_sign, scope, date, credentials));

    http::request<http::string_body> request(http::verb::post, "/", 11);
    for (const auto& [name, value] : to_sign.headers) request.set(name, value);
    request.set(http::field::authorization, authorization);
    request.keep_alive(true);
    request.body() = std::move(body);
    request.prepare_payload();
    return request;
  }

  // Over a kept connection, or a new one where there is none or KMS had closed it meanwhile. Our
  // operations change nothing in KMS, so sending one twice does no harm.
  absl::StatusOr<Response> Send(http::request<http::string_body>& request, MonotonicTime deadline)
      BULLA_EXCLUDES(mutex_) {
    while (std::unique_ptr<Connection> kept = TakeIdle()) {
      absl::StatusOr<Response> response = RoundTrip(std::move(kept), request, deadline);
      if (!absl::IsUnavailable(response.status())) return response;
    }
    BULLA_ASSIGN_OR_RETURN(std::unique_ptr<Connection> fresh, Connect(deadline));
    return RoundTrip(std::move(fresh), request, deadline);
  }

  absl::StatusOr<Response> RoundTrip(std::unique_ptr<Connection> connection,
                                     http::request<http::string_body>& request,
                                     MonotonicTime deadline) BULLA_EXCLUDES(mutex_) {
    BULLA_ASSIGN_OR_RETURN(Duration left, TimeLeft(deadline));
    BULLA_ASSIGN_OR_RETURN(Response response, connection->RoundTrip(request, left));
    if (response.keep_alive()) {
      MutexLock lock(mutex_);
      if (idle_.size() < kIdleConnectionsMax) idle_.push_back(std::move(connection));
    }
    return response;
  }

  absl::StatusOr<std::unique_ptr<Connection>> Connect(MonotonicTime deadline) {
    BULLA_RETURN_IF_ERROR(TimeLeft(deadline).status());
    BULLA_ASSIGN_OR_RETURN(UniqueFd fd, options_.dial());
    auto connection = std::make_unique<Connection>(tls_);
    BULLA_RETURN_IF_ERROR(connection->InsertWarm(std::move(fd)));
    BULLA_ASSIGN_OR_RETURN(Duration left, TimeLeft(deadline));
    BULLA_RETURN_IF_ERROR(
        connection->Handshake(options_.kms_host, options_.clock->WallNow(), left));
    return connection;
  }

  absl::StatusOr<Duration> TimeLeft(MonotonicTime deadline) const {
    Duration left = deadline - options_.clock->Now();
    if (left <= Duration::zero()) return absl::DeadlineExceededError("KMS: out of time");
    return left;
  }

  std::unique_ptr<Connection> TakeIdle() BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (idle_.empty()) return nullptr;
    std::unique_ptr<Connection> connection = std::move(idle_.back());
    idle_.pop_back();
    return connection;
  }

  const KmsClientOptions options_;
  asio::ssl::context tls_;  // not changed once started

  Mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_ BULLA_GUARDED_BY(mutex_);
  int calls_ BULLA_GUARDED_BY(mutex_) = 0;
};

KmsClient::KmsClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KmsClient::~KmsClient() = default;

absl::StatusOr<std::unique_ptr<KmsClient>> KmsClient::Create(KmsClientOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  BULLA_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<KmsClient>(new KmsClient(std::move(impl)));
}

absl::StatusOr<DataKey> KmsClient::GenerateDataKeyBlocking(const AwsCredentials& credentials,
                                                           const DekId& dek_id,
                                                           MonotonicTime deadline) {
  BULLA_ASSIGN_OR_RETURN(
      json::object reply,
      impl_->Call("GenerateDataKey", {{"KeySpec", "AES_256"}}, credentials, dek_id, deadline));
  DataKey key;
  BULLA_ASSIGN_OR_RETURN(key.wrapped, Base64Member(reply, "CiphertextBlob", kWrappedDekBytesMax));
  BULLA_ASSIGN_OR_RETURN(key.plaintext, impl_->OpenReply(reply));
  key.key_id = impl_->options().key_arn;
  return key;
}

absl::StatusOr<Secret<32>> KmsClient::DecryptBlocking(const AwsCredentials& credentials,
                                                      ByteSpan wrapped, const DekId& dek_id,
                                                      MonotonicTime deadline) {
  if (wrapped.empty() || wrapped.size() > kWrappedDekBytesMax) {
    return absl::InvalidArgumentError(fmt::format("wrapped data key is {} bytes, not 1..{}",
                                                  wrapped.size(), kWrappedDekBytesMax));
  }
  BULLA_ASSIGN_OR_RETURN(json::object reply,
                         impl_->Call("Decrypt", {{"CiphertextBlob", Base64Encode(wrapped)}},
                                     credentials, dek_id, deadline));
  return impl_->OpenReply(reply);
}

}  // namespace bulla
