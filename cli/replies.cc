#include "cli/replies.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace bulla {
namespace {

namespace json = boost::json;

// Deeper than any answer of ours.
constexpr std::size_t kDepthMax = 8;

absl::Status Missing(std::string_view name) {
  return absl::DataLossError(
      fmt::format("the answer is not from this service: '{}' is missing or malformed", name));
}

absl::StatusOr<json::object> ParseObject(std::string_view text) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  json::error_code error;
  json::value value = json::parse(text, error, {}, options);
  if (error || !value.is_object()) {
    return absl::DataLossError("the answer is not from this service: it is no JSON object");
  }
  return std::move(value.get_object());
}

absl::StatusOr<std::string> Text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_string()) return Missing(name);
  return std::string(value->get_string());
}

// A member that may be absent, as text; empty then.
std::string OptionalText(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// The text `name` of the object `inner`, or nothing where either is not there.
std::string OptionalText(const json::object& object, std::string_view inner,
                         std::string_view name) {
  const json::value* value = object.if_contains(inner);
  return value != nullptr && value->is_object() ? OptionalText(value->get_object(), name)
                                                : std::string();
}

absl::StatusOr<PublicKeyReply> ToPublicKey(const json::object& object) {
  PublicKeyReply reply;
  BULLA_ASSIGN_OR_RETURN(reply.key_id, Text(object, "keyId"));
  BULLA_ASSIGN_OR_RETURN(std::string public_key, Text(object, "publicKey"));
  if (!HexDecode(public_key, reply.public_key)) return Missing("publicKey");
  BULLA_ASSIGN_OR_RETURN(reply.address, Text(object, "address"));
  reply.created_at = OptionalText(object, "createdAt");
  reply.status = OptionalText(object, "status");
  return reply;
}

// A count that may be absent, or no count; 0 then.
std::uint64_t OptionalCount(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr) return 0;
  if (value->is_uint64()) return value->get_uint64();
  return value->is_int64() && value->get_int64() > 0
             ? static_cast<std::uint64_t>(value->get_int64())
             : 0;
}

bool OptionalFlag(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_bool() && value->get_bool();
}

// A share from 0 to 1; nothing where it is absent or no such number. Whole ones come as integers.
std::optional<double> OptionalShare(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  const double share = value->is_double()  ? value->get_double()
                       : value->is_int64() ? static_cast<double>(value->get_int64())
                                           : 2.0;
  return share >= 0 && share <= 1 ? std::optional<double>(share) : std::nullopt;
}

// The texts of a list that may be absent; what is no text is left out.
std::vector<std::string> OptionalTexts(const json::object& object, std::string_view name) {
  std::vector<std::string> texts;
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_array()) return texts;
  for (const json::value& text : value->get_array()) {
    if (text.is_string()) texts.emplace_back(text.get_string());
  }
  return texts;
}

// There are five causes.
constexpr std::size_t kCausesMax = 16;
// A report has 16.
constexpr std::size_t kReportMax = 64;
// What the gateway says of an enclave, beside the enclave's own report.
constexpr std::string_view kOfTheGateway[] = {"weight",       "weightTarget", "streamsOpen",
                                              "inFlight",     "reconnects",   "streamResets",
                                              "stickyHitRate"};

// The members that are counts; at most so many.
std::map<std::string, std::uint64_t> Counts(const json::object& object, std::size_t max) {
  std::map<std::string, std::uint64_t> counts;
  for (const auto& [name, value] : object) {
    if (counts.size() == max) break;
    if (value.is_uint64() || value.is_int64()) counts[name] = OptionalCount(object, name);
  }
  return counts;
}

std::optional<std::map<std::string, std::uint64_t>> ReportOf(json::object enclave) {
  if (!enclave.contains("signatures")) return std::nullopt;
  for (std::string_view name : kOfTheGateway) enclave.erase(name);
  return Counts(enclave, kReportMax);
}

absl::StatusOr<EnclaveStatusReply> ToEnclaveStatus(const json::object& object) {
  EnclaveStatusReply reply;
  BULLA_ASSIGN_OR_RETURN(reply.address, Text(object, "address"));
  const json::value* connected = object.if_contains("connected");
  if (connected == nullptr || !connected->is_bool()) return Missing("connected");
  reply.connected = connected->get_bool();
  reply.available = OptionalFlag(object, "available");
  reply.ejected = OptionalFlag(object, "ejected");
  reply.weight = OptionalCount(object, "weight");
  reply.platform = OptionalText(object, "platform");
  reply.boot_id = OptionalText(object, "bootId");
  reply.last_error = OptionalText(object, "lastError");
  reply.policy_refused = OptionalText(object, "policyRefused");
  const json::value* unlocks_refused = object.if_contains("unlocksRefused");
  if (unlocks_refused != nullptr && unlocks_refused->is_object()) {
    reply.unlocks_refused = Counts(unlocks_refused->get_object(), kCausesMax);
  }
  reply.sealing_refused = OptionalText(object, "sealingRefused");
  reply.streams_open = OptionalCount(object, "streamsOpen");
  reply.in_flight = OptionalCount(object, "inFlight");
  reply.reconnects = OptionalCount(object, "reconnects");
  reply.stream_resets = OptionalCount(object, "streamResets");
  reply.sticky_hit_rate = OptionalShare(object, "stickyHitRate");
  reply.report = ReportOf(object);
  return reply;
}

}  // namespace

absl::StatusOr<PublicKeyReply> ParsePublicKeyReply(std::string_view text) {
  BULLA_ASSIGN_OR_RETURN(json::object object, ParseObject(text));
  return ToPublicKey(object);
}

absl::StatusOr<SignatureReply> ParseSignatureReply(std::string_view text) {
  BULLA_ASSIGN_OR_RETURN(json::object object, ParseObject(text));
  SignatureReply reply;
  BULLA_ASSIGN_OR_RETURN(std::string signature, Text(object, "signature"));
  if (!HexDecode(signature, reply.signature.rs)) return Missing("signature");
  const json::value* recovery_id = object.if_contains("recoveryId");
  if (recovery_id == nullptr || !recovery_id->is_int64()) return Missing("recoveryId");
  if (recovery_id->get_int64() < 0 || recovery_id->get_int64() > 3) return Missing("recoveryId");
  reply.signature.recovery_id = static_cast<std::uint8_t>(recovery_id->get_int64());
  if (std::string der = OptionalText(object, "der"); !der.empty()) reply.der = std::move(der);
  return reply;
}

absl::StatusOr<std::vector<PublicKeyReply>> ParseKeyListReply(std::string_view text) {
  BULLA_ASSIGN_OR_RETURN(json::object object, ParseObject(text));
  const json::value* keys = object.if_contains("keys");
  if (keys == nullptr || !keys->is_array()) return Missing("keys");
  std::vector<PublicKeyReply> replies;
  for (const json::value& key : keys->get_array()) {
    if (!key.is_object()) return Missing("keys");
    BULLA_ASSIGN_OR_RETURN(PublicKeyReply reply, ToPublicKey(key.get_object()));
    replies.push_back(std::move(reply));
  }
  return replies;
}

absl::StatusOr<ErrorReply> ParseErrorReply(std::string_view text) {
  BULLA_ASSIGN_OR_RETURN(json::object object, ParseObject(text));
  const json::value* error = object.if_contains("error");
  if (error == nullptr || !error->is_object()) return Missing("error");
  ErrorReply reply;
  BULLA_ASSIGN_OR_RETURN(reply.code, Text(error->get_object(), "code"));
  BULLA_ASSIGN_OR_RETURN(reply.message, Text(error->get_object(), "message"));
  reply.request_id = OptionalText(error->get_object(), "requestId");
  const json::value* retry = error->get_object().if_contains("retryAfterMs");
  if (retry != nullptr && retry->is_int64()) reply.retry_after_ms = retry->get_int64();
  return reply;
}

absl::StatusOr<StatusReply> ParseStatusReply(std::string_view text) {
  BULLA_ASSIGN_OR_RETURN(json::object object, ParseObject(text));
  const json::value* enclaves = object.if_contains("enclaves");
  if (enclaves == nullptr || !enclaves->is_array()) return Missing("enclaves");
  StatusReply reply{.version = OptionalText(object, "build", "version"),
                    .commit = OptionalText(object, "build", "commit"),
                    .unlocks_pending = OptionalCount(object, "unlocksPending"),
                    .unlocks_running = OptionalCount(object, "unlocksRunning"),
                    .unlocks_done = OptionalCount(object, "unlocksDone"),
                    .unlocks_failed = OptionalCount(object, "unlocksFailed"),
                    .store_unwritable = OptionalText(object, "store", "reason"),
                    .config_refused = OptionalText(object, "configRefused"),
                    .config_needs_restart = OptionalTexts(object, "configNeedsRestart")};
  for (const json::value& enclave : enclaves->get_array()) {
    if (!enclave.is_object()) return Missing("enclaves");
    BULLA_ASSIGN_OR_RETURN(EnclaveStatusReply status, ToEnclaveStatus(enclave.get_object()));
    reply.enclaves.push_back(std::move(status));
  }
  return reply;
}

absl::StatusOr<EnclaveChangeReply> ParseEnclaveChangeReply(std::string_view text) {
  BULLA_ASSIGN_OR_RETURN(json::object object, ParseObject(text));
  EnclaveChangeReply reply;
  BULLA_ASSIGN_OR_RETURN(reply.address, Text(object, "address"));
  reply.lasts = OptionalText(object, "lasts");
  return reply;
}

}  // namespace bulla
