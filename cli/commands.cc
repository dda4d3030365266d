#include "cli/commands.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/await.h"
#include "base/command_line.h"
#include "base/ids.h"
#include "cli/replies.h"
#include "cli/status_text.h"
#include "crypto/address.h"
#include "crypto/verifier.h"

namespace bulla {
namespace {

constexpr int kHttpServiceUnavailable = 503;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

ExitCode NotUnderstood(const absl::Status& status, const Console& console) {
  return console.Fail(ExitCode::kFailed, "NOT_UNDERSTOOD", Message(status));
}

ExitCode BadArgument(const std::string& message, const Console& console) {
  return console.Fail(ExitCode::kUsage, "INVALID_ARGUMENT", message);
}

// The service's own JSON, as one line.
ExitCode PrintJson(std::string body, const Console& console) {
  while (!body.empty() && body.back() == '\n') body.pop_back();
  console.out << body << "\n";
  return ExitCode::kOk;
}

void PrintKey(const PublicKeyReply& key, const Console& console) {
  console.out << "key        " << key.key_id << "\n"
              << "publicKey  " << HexEncode0x(key.public_key) << "\n"
              << "address    " << key.address << "\n";
  if (!key.created_at.empty()) console.out << "createdAt  " << key.created_at << "\n";
  if (!key.status.empty()) console.out << "status     " << key.status << "\n";
}

ExitCode PrintKeyReply(const std::string& body, const Console& console) {
  absl::StatusOr<PublicKeyReply> key = ParsePublicKeyReply(body);
  if (!key.ok()) return NotUnderstood(key.status(), console);
  if (console.json) return PrintJson(body, console);
  PrintKey(*key, console);
  return ExitCode::kOk;
}

// Requires: `key_id` is a UUID (it becomes part of a path).
HttpRequest GetKey(const std::string& key_id) {
  return {.method = "GET", .target = "/keys/" + key_id, .json_body = {}, .idempotency_key = {}};
}

ExitCode PrintVerdict(const PublicKey33& public_key, const std::string& digest_text,
                      const std::string& signature_text, const Console& console) {
  Digest32 digest;
  if (!HexDecode(digest_text, digest)) {
    return BadArgument(fmt::format("a digest is 64 hex digits, this is '{}'", digest_text),
                       console);
  }
  ByteArray<64> signature;
  if (!HexDecode(signature_text, signature)) {
    return BadArgument(
        fmt::format("a signature is 128 hex digits (r, then s), this is '{}'", signature_text),
        console);
  }
  bool valid = VerifySignature(public_key, digest, signature);
  if (console.json) {
    boost::json::value verdict = {{"valid", valid}, {"publicKey", HexEncode0x(public_key)}};
    console.out << boost::json::serialize(verdict) << "\n";
  } else {
    console.out << (valid ? "valid: the key of " : "NOT VALID for the key of ")
                << HexEncode0x(public_key) << (valid ? " signed this digest" : "") << "\n";
  }
  return valid ? ExitCode::kOk : ExitCode::kFailed;
}

std::optional<std::chrono::milliseconds> ToldToComeBackIn(const absl::StatusOr<HttpReply>& reply) {
  if (!reply.ok() || reply->status < 400) return std::nullopt;
  absl::StatusOr<ErrorReply> error = ParseErrorReply(reply->body);
  if (!error.ok() || !error->retry_after_ms || *error->retry_after_ms <= 0) return std::nullopt;
  return std::chrono::milliseconds(*error->retry_after_ms);
}

}  // namespace

std::optional<HttpReply> ServiceCaller::CallBlocking(const HttpRequest& request, int also_accept) {
  absl::StatusOr<HttpReply> reply = bulla::CallBlocking(found_.url, request, timeout_);
  while (std::optional<std::chrono::milliseconds> wait = ToldToComeBackIn(reply)) {
    if (*wait > patience_) break;
    patience_ -= *wait;
    PauseBlocking(*wait);
    reply = bulla::CallBlocking(found_.url, request, timeout_);
  }
  if (!reply.ok()) {
    exit_code_ = ExplainNoAnswer(reply.status());
    return std::nullopt;
  }
  bool accepted = (reply->status >= 200 && reply->status < 300) || reply->status == also_accept;
  if (accepted) return *std::move(reply);
  exit_code_ = ExplainRefusal(*reply);
  return std::nullopt;
}

ExitCode ServiceCaller::ExplainNoAnswer(const absl::Status& status) const {
  std::string url = found_.url.ToString();
  if (!absl::IsUnavailable(status)) {
    return console_.Fail(ExitCode::kNothingThere, "NO_ANSWER",
                         fmt::format("{} (from {}): {}", url, found_.source, Message(status)));
  }
  return console_.Fail(
      ExitCode::kNothingThere, "NOTHING_THERE",
      fmt::format("nothing is running at {} ({}).\n"
                  "  That address is from {}; looked at, in this order: the option, the\n"
                  "  environment, endpoints.json in the data directory, the default.\n"
                  "  Start a service with `bulla dev`, or say where one is with --url.",
                  url, Message(status), found_.source));
}

ExitCode ServiceCaller::ExplainRefusal(const HttpReply& reply) const {
  absl::StatusOr<ErrorReply> error = ParseErrorReply(reply.body);
  if (!error.ok()) {
    return console_.Fail(
        ExitCode::kFailed, "NOT_UNDERSTOOD",
        fmt::format("{} answered with HTTP status {}, but not as this service does",
                    found_.url.ToString(), reply.status));
  }
  ExitCode exit = error->retry_after_ms ? ExitCode::kTryAgain : ExitCode::kRefused;
  if (console_.json) {
    std::string body = reply.body;
    while (!body.empty() && body.back() == '\n') body.pop_back();
    console_.err << body << std::endl;
    return exit;
  }
  std::string text = fmt::format("{}: {}", error->code, error->message);
  if (error->retry_after_ms) text += fmt::format(" (try again in {} ms)", *error->retry_after_ms);
  if (!error->request_id.empty()) text += fmt::format("\n  request {}", error->request_id);
  return console_.Fail(exit, error->code, text);
}

ExitCode RunCreate(ServiceCaller& service, const std::string& idempotency_key,
                   const Console& console) {
  // A key whose id nobody gets is of no use: what can be known of the output is asked before.
  if (console.out_fd >= 0) {
    if (absl::Status writable = CheckWritable(console.out_fd); !writable.ok()) {
      return console.Fail(ExitCode::kOutputLost, "OUTPUT_LOST",
                          "no key was made: " + Message(writable));
    }
  }
  std::optional<HttpReply> reply = service.CallBlocking({.method = "POST",
                                                         .target = "/create",
                                                         .json_body = "{}",
                                                         .idempotency_key = idempotency_key});
  if (!reply) return service.exit_code();
  absl::StatusOr<PublicKeyReply> key = ParsePublicKeyReply(reply->body);
  if (!key.ok()) return NotUnderstood(key.status(), console);
  return console.Finish(PrintKeyReply(reply->body, console),
                        fmt::format("the key {} was made", Plain(key->key_id)));
}

ExitCode RunSign(ServiceCaller& service, const std::string& key_id, const std::string& digest,
                 bool der, const Console& console) {
  boost::json::object request = {{"keyId", key_id}, {"digest", digest}};
  if (der) request["der"] = true;
  std::optional<HttpReply> reply =
      service.CallBlocking({.method = "POST",
                            .target = "/sign",
                            .json_body = boost::json::serialize(request),
                            .idempotency_key = {}});
  if (!reply) return service.exit_code();
  absl::StatusOr<SignatureReply> signature = ParseSignatureReply(reply->body);
  if (!signature.ok()) return NotUnderstood(signature.status(), console);
  if (console.json) return PrintJson(reply->body, console);
  console.out << "signature   " << HexEncode0x(signature->signature.rs) << "\n"
              << "recoveryId  " << int{signature->signature.recovery_id} << "\n";
  if (signature->der) console.out << "der         " << *signature->der << "\n";
  return ExitCode::kOk;
}

ExitCode RunVerifyWithKeyId(ServiceCaller& service, const std::string& key_id,
                            const std::string& digest, const std::string& signature,
                            const Console& console) {
  std::optional<KeyId> id = KeyId::Parse(key_id);
  if (!id) return BadArgument(fmt::format("'{}' is no key id (a UUID)", key_id), console);
  std::optional<HttpReply> reply = service.CallBlocking(GetKey(id->ToString()));
  if (!reply) return service.exit_code();
  absl::StatusOr<PublicKeyReply> key = ParsePublicKeyReply(reply->body);
  if (!key.ok()) return NotUnderstood(key.status(), console);
  return PrintVerdict(key->public_key, digest, signature, console);
}

ExitCode RunVerifyWithPublicKey(const std::string& public_key_text, const std::string& digest,
                                const std::string& signature, const Console& console) {
  PublicKey33 public_key;
  if (!HexDecode(public_key_text, public_key)) {
    return BadArgument(
        fmt::format("a public key is 66 hex digits (a compressed point), this is '{}'",
                    public_key_text),
        console);
  }
  return PrintVerdict(public_key, digest, signature, console);
}

ExitCode RunShowKey(ServiceCaller& service, const std::string& key_id, const Console& console) {
  std::optional<KeyId> id = KeyId::Parse(key_id);
  if (!id) return BadArgument(fmt::format("'{}' is no key id (a UUID)", key_id), console);
  std::optional<HttpReply> reply = service.CallBlocking(GetKey(id->ToString()));
  return reply ? PrintKeyReply(reply->body, console) : service.exit_code();
}

ExitCode RunListKeys(ServiceCaller& admin, int limit, const std::string& after,
                     const Console& console) {
  std::string target = fmt::format("/keys?limit={}", limit);
  if (!after.empty()) {
    std::optional<KeyId> id = KeyId::Parse(after);
    if (!id) return BadArgument(fmt::format("'{}' is no key id (a UUID)", after), console);
    target += "&after=" + id->ToString();
  }
  std::optional<HttpReply> reply = admin.CallBlocking(
      {.method = "GET", .target = target, .json_body = {}, .idempotency_key = {}});
  if (!reply) return admin.exit_code();
  absl::StatusOr<std::vector<PublicKeyReply>> keys = ParseKeyListReply(reply->body);
  if (!keys.ok()) return NotUnderstood(keys.status(), console);
  if (console.json) return PrintJson(reply->body, console);
  for (const PublicKeyReply& key : *keys) {
    console.out << fmt::format("{}  {}  {}  {}\n", key.key_id, key.address, key.created_at,
                               key.status);
  }
  if (keys->empty()) console.err << "no keys" << (after.empty() ? "" : " after that one") << "\n";
  if (keys->size() == static_cast<std::size_t>(limit)) {
    console.err << "more: bulla keys --after " << keys->back().key_id << "\n";
  }
  return ExitCode::kOk;
}

ExitCode RunListEnclaves(ServiceCaller& admin, const Console& console) {
  HttpRequest request;
  request.target = "/enclaves";
  std::optional<HttpReply> reply = admin.CallBlocking(request);
  if (!reply) return admin.exit_code();
  absl::StatusOr<StatusReply> status = ParseStatusReply(reply->body);
  if (!status.ok()) return NotUnderstood(status.status(), console);
  if (console.json) return PrintJson(reply->body, console);
  console.out << FormatEnclaves(*status);
  return ExitCode::kOk;
}

ExitCode RunChangeEnclaves(ServiceCaller& admin, const EnclaveCommand& command,
                           const Console& console) {
  boost::json::object change = {{"address", command.address}};
  if (command.weight) change["weight"] = *command.weight;
  if (command.verb == "drain") change["weight"] = 0;
  HttpRequest request{.method = "PATCH", .target = "/enclaves"};
  if (command.verb == "add") request.method = "POST";
  if (command.verb == "remove") request.method = "DELETE";
  request.json_body = boost::json::serialize(change);
  std::optional<HttpReply> reply = admin.CallBlocking(request);
  if (!reply) return admin.exit_code();
  absl::StatusOr<EnclaveChangeReply> done = ParseEnclaveChangeReply(reply->body);
  if (!done.ok()) return NotUnderstood(done.status(), console);
  if (console.json) return PrintJson(reply->body, console);
  console.out << fmt::format("done: {} {}\n", command.verb, Plain(done->address));
  if (command.verb == "drain") {
    console.out << "its keys go to the others; `bulla enclaves` shows what is still in flight\n";
  }
  if (!done->lasts.empty()) console.out << "this lasts " << Plain(done->lasts) << "\n";
  return ExitCode::kOk;
}

ExitCode RunStatus(ServiceCaller& admin, const Console& console) {
  HttpRequest request;
  request.target = "/readyz";
  std::optional<HttpReply> readiness = admin.CallBlocking(request, kHttpServiceUnavailable);
  if (!readiness) return admin.exit_code();
  request.target = "/status";
  std::optional<HttpReply> reply = admin.CallBlocking(request);
  if (!reply) return admin.exit_code();
  absl::StatusOr<StatusReply> status = ParseStatusReply(reply->body);
  if (!status.ok()) return NotUnderstood(status.status(), console);
  bool ready = readiness->status != kHttpServiceUnavailable;
  if (console.json) {
    PrintJson(reply->body, console);
  } else {
    console.out << "answers at: " << admin.url().ToString() << "\n"
                << "ready: " << (ready ? "yes" : "no") << "\n"
                << FormatStatus(*status);
  }
  return ready ? ExitCode::kOk : ExitCode::kTryAgain;
}

}  // namespace bulla
