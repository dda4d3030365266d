#include "localkms/kms_service.h"

#include <algorithm>
#include <fmt/format.h>

#include <absl/strings/cord.h>
#include <boost/json.hpp>

#include "base/random.h"
#include "kms/recipient.h"

namespace bulla {
namespace {

namespace json = boost::json;

constexpr std::string_view kTargetPrefix = "TrentService.";
constexpr std::string_view kService = "kms";
constexpr std::size_t kDepthMax = 8;
constexpr std::size_t kDocumentBytesMax = 262144;  // KMS's limits
constexpr std::size_t kDataKeyBytesMax = 1024;
constexpr std::size_t kContextEntriesMax = 64;
constexpr std::size_t kContextBytesMax = 8192;
constexpr auto kClockSkewMax = std::chrono::minutes(5);

// An error with AWS's name for it, carried as a payload of the status.
constexpr char kErrorName[] = "kms-error-name";
absl::Status Fail(std::string_view name, std::string_view message) {
  absl::Status status =
      absl::InvalidArgumentError(absl::string_view(message.data(), message.size()));
  status.SetPayload(kErrorName, absl::Cord(absl::string_view(name.data(), name.size())));
  return status;
}
absl::Status Invalid(std::string_view message) { return Fail("ValidationException", message); }

KmsReply ErrorReply(const absl::Status& status) {
  std::string name = "KMSInternalException";
  int http_status = 500;
  if (auto payload = status.GetPayload(kErrorName)) {
    name = std::string(*payload);
    http_status = 400;
  }
  json::object body{{"__type", name}, {"message", std::string(status.message())}};
  return {http_status, json::serialize(body)};
}

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

// Members of a request. Missing and null are the same: nothing.

absl::StatusOr<std::optional<std::string>> Text(const json::object& in, std::string_view name) {
  const json::value* value = in.if_contains(name);
  if (!value || value->is_null()) return std::optional<std::string>();
  if (!value->is_string()) {
    return Fail("SerializationException", fmt::format("{} must be a string", name));
  }
  return std::optional<std::string>(value->as_string().c_str());
}

absl::StatusOr<Bytes> Blob(const json::object& in, std::string_view name, std::size_t max_bytes) {
  BULLA_ASSIGN_OR_RETURN(std::optional<std::string> text, Text(in, name));
  if (!text) return Invalid(fmt::format("{} is missing", name));
  std::optional<Bytes> bytes = Base64Decode(*text, max_bytes);
  if (!bytes || bytes->empty()) {
    return Invalid(fmt::format("{} must be base64 of 1 to {} bytes", name, max_bytes));
  }
  return *std::move(bytes);
}

absl::StatusOr<EncryptionContext> Context(const json::object& in) {
  EncryptionContext context;
  const json::value* value = in.if_contains("EncryptionContext");
  if (!value || value->is_null()) return context;
  if (!value->is_object() || value->as_object().size() > kContextEntriesMax) {
    return Invalid("EncryptionContext must be an object of at most 64 strings");
  }
  std::size_t bytes = 0;
  for (const auto& entry : value->as_object()) {
    if (!entry.value().is_string())
      return Invalid("EncryptionContext holds a value that is no string");
    std::string_view text(entry.value().as_string().data(), entry.value().as_string().size());
    bytes += entry.key().size() + text.size();
    context.emplace(std::string(entry.key().data(), entry.key().size()), text);
  }
  if (bytes > kContextBytesMax) return Invalid("EncryptionContext is over 8192 bytes");
  return context;
}

// The public key to answer to, out of a document that was believed; nothing without Recipient.
absl::StatusOr<std::optional<Bytes>> RecipientKey(const json::object& in,
                                                  const std::optional<TrustAnchor>& root,
                                                  WallTime now) {
  const json::value* value = in.if_contains("Recipient");
  if (!value || value->is_null()) return std::optional<Bytes>();
  if (!value->is_object()) return Fail("SerializationException", "Recipient must be an object");
  const json::object& recipient = value->as_object();
  BULLA_ASSIGN_OR_RETURN(std::optional<std::string> algorithm,
                         Text(recipient, "KeyEncryptionAlgorithm"));
  if (algorithm != "RSAES_OAEP_SHA_256") {
    return Invalid("Recipient.KeyEncryptionAlgorithm must be RSAES_OAEP_SHA_256");
  }
  BULLA_ASSIGN_OR_RETURN(Bytes bytes, Blob(recipient, "AttestationDocument", kDocumentBytesMax));
  if (!root) return Invalid("this KMS was started without --attestation-root");
  absl::StatusOr<AttestationDocument> document = VerifyAttestationDocument(bytes, *root, now);
  if (!document.ok()) return Invalid(std::string(document.status().message()));
  if (!document->public_key) return Invalid("the attestation document carries no public key");
  return std::optional<Bytes>(*std::move(document->public_key));
}

absl::Status RequireSymmetricDefault(const json::object& in, std::string_view member) {
  BULLA_ASSIGN_OR_RETURN(std::optional<std::string> value, Text(in, member));
  if (value && *value != "SYMMETRIC_DEFAULT") {
    return Fail("UnsupportedOperationException",
                fmt::format("{} {}: this KMS has SYMMETRIC_DEFAULT only", member, *value));
  }
  return absl::OkStatus();
}

absl::StatusOr<const CustomerKey*> FindKey(const KeyRing& keys, const json::object& in) {
  BULLA_ASSIGN_OR_RETURN(std::optional<std::string> id, Text(in, "KeyId"));
  if (!id) return Invalid("KeyId is missing");
  const CustomerKey* key = keys.Find(*id);
  if (!key)
    return Fail("NotFoundException", fmt::format("Key '{}' does not exist", id->substr(0, 128)));
  return key;
}

json::object Metadata(const CustomerKey& key) {
  return {{"AWSAccountId", KeyRing::kAccount},
          {"KeyId", key.id},
          {"Arn", key.arn},
          {"CreationDate", static_cast<double>(UnixMillis(key.created_at)) / 1000},
          {"Description", key.description},
          {"Enabled", true},
          {"KeyState", "Enabled"},
          {"KeyUsage", "ENCRYPT_DECRYPT"},
          {"KeySpec", "SYMMETRIC_DEFAULT"},
          {"CustomerMasterKeySpec", "SYMMETRIC_DEFAULT"},
          {"EncryptionAlgorithms", json::array{"SYMMETRIC_DEFAULT"}},
          {"KeyManager", "CUSTOMER"},
          {"Origin", "AWS_KMS"},
          {"MultiRegion", false}};
}

// Puts the plain text into a reply: sealed to the recipient where there is one, and then never
// open as well. A caller without Recipient asked for the open form; that is the protocol.
absl::Status AddPlaintext(json::object& reply, const Plaintext& plaintext,
                          const std::optional<Bytes>& recipient_key) {
  if (!recipient_key) {
    reply["Plaintext"] = Base64Encode(plaintext.Expose());
    return absl::OkStatus();
  }
  absl::StatusOr<Bytes> envelope = SealForRecipient(*recipient_key, plaintext.Expose());
  if (absl::IsInvalidArgument(envelope.status())) {
    return Invalid(std::string(envelope.status().message()));
  }
  BULLA_RETURN_IF_ERROR(envelope.status());
  reply["Plaintext"] = nullptr;
  reply["CiphertextForRecipient"] = Base64Encode(*envelope);
  return absl::OkStatus();
}

absl::StatusOr<json::object> CreateKey(KeyRing& keys, const json::object& in, WallTime now) {
  BULLA_RETURN_IF_ERROR(RequireSymmetricDefault(in, "KeySpec"));
  BULLA_RETURN_IF_ERROR(RequireSymmetricDefault(in, "CustomerMasterKeySpec"));
  BULLA_ASSIGN_OR_RETURN(std::optional<std::string> usage, Text(in, "KeyUsage"));
  BULLA_ASSIGN_OR_RETURN(std::optional<std::string> description, Text(in, "Description"));
  BULLA_ASSIGN_OR_RETURN(std::optional<std::string> policy, Text(in, "Policy"));
  if (usage && *usage != "ENCRYPT_DECRYPT") {
    return Fail("UnsupportedOperationException", "KeyUsage must be ENCRYPT_DECRYPT");
  }
  // Taking a policy and not enforcing it would be a lie.
  if (policy) return Fail("UnsupportedOperationException", "this KMS has no key policies");
  if (description && description->size() > KeyRing::kDescriptionBytesMax) {
    return Invalid("Description is over 8192 bytes");
  }
  BULLA_ASSIGN_OR_RETURN(const CustomerKey* key, keys.Create(description.value_or(""), now));
  return json::object{{"KeyMetadata", Metadata(*key)}};
}

absl::StatusOr<json::object> DescribeKey(const KeyRing& keys, const json::object& in) {
  BULLA_ASSIGN_OR_RETURN(const CustomerKey* key, FindKey(keys, in));
  return json::object{{"KeyMetadata", Metadata(*key)}};
}

json::object ListKeys(const KeyRing& keys) {
  json::array list;
  for (const CustomerKey* key : keys.List()) {
    list.push_back(json::object{{"KeyId", key->id}, {"KeyArn", key->arn}});
  }
  return {{"Keys", std::move(list)}, {"Truncated", false}};
}

absl::StatusOr<std::size_t> DataKeyBytes(const json::object& in) {
  BULLA_ASSIGN_OR_RETURN(std::optional<std::string> spec, Text(in, "KeySpec"));
  const json::value* number = in.if_contains("NumberOfBytes");
  bool has_number = number && !number->is_null();
  if (spec.has_value() == has_number) {
    return Invalid("exactly one of KeySpec and NumberOfBytes must be given");
  }
  if (spec == "AES_256") return std::size_t{32};
  if (spec == "AES_128") return std::size_t{16};
  if (spec) return Invalid("KeySpec must be AES_256 or AES_128");
  if (!number->is_int64() || number->as_int64() < 1 ||
      number->as_int64() > static_cast<std::int64_t>(kDataKeyBytesMax)) {
    return Invalid("NumberOfBytes must be 1 to 1024");
  }
  return static_cast<std::size_t>(number->as_int64());
}

absl::StatusOr<json::object> GenerateDataKey(const KeyRing& keys, const json::object& in,
                                             const std::optional<Bytes>& recipient_key) {
  BULLA_ASSIGN_OR_RETURN(const CustomerKey* key, FindKey(keys, in));
  BULLA_ASSIGN_OR_RETURN(EncryptionContext context, Context(in));
  Plaintext data_key;
  BULLA_ASSIGN_OR_RETURN(data_key.size, DataKeyBytes(in));
  FillRandom(data_key.bytes.Expose().first(data_key.size));
  BULLA_ASSIGN_OR_RETURN(Bytes blob, SealUnderKey(*key, context, data_key.Expose()));
  json::object reply{{"KeyId", key->arn}, {"CiphertextBlob", Base64Encode(blob)}};
  BULLA_RETURN_IF_ERROR(AddPlaintext(reply, data_key, recipient_key));
  return reply;
}

absl::StatusOr<json::object> Encrypt(const KeyRing& keys, const json::object& in) {
  BULLA_RETURN_IF_ERROR(RequireSymmetricDefault(in, "EncryptionAlgorithm"));
  BULLA_ASSIGN_OR_RETURN(const CustomerKey* key, FindKey(keys, in));
  BULLA_ASSIGN_OR_RETURN(EncryptionContext context, Context(in));
  BULLA_ASSIGN_OR_RETURN(Bytes plaintext, Blob(in, "Plaintext", kPlaintextBytesMax));
  absl::StatusOr<Bytes> blob = SealUnderKey(*key, context, plaintext);
  Wipe(plaintext);
  BULLA_RETURN_IF_ERROR(blob.status());
  return json::object{{"KeyId", key->arn},
                      {"CiphertextBlob", Base64Encode(*blob)},
                      {"EncryptionAlgorithm", "SYMMETRIC_DEFAULT"}};
}

absl::StatusOr<json::object> Decrypt(const KeyRing& keys, const json::object& in,
                                     const std::optional<Bytes>& recipient_key) {
  BULLA_RETURN_IF_ERROR(RequireSymmetricDefault(in, "EncryptionAlgorithm"));
  BULLA_ASSIGN_OR_RETURN(EncryptionContext context, Context(in));
  BULLA_ASSIGN_OR_RETURN(Bytes blob, Blob(in, "CiphertextBlob", kCiphertextBytesMax));
  absl::Status mismatch = Fail("InvalidCiphertextException", "the ciphertext does not open");
  absl::StatusOr<std::string> arn = CiphertextKeyArn(blob);
  if (!arn.ok()) return mismatch;
  const CustomerKey* key = keys.Find(*arn);
  if (!key) return mismatch;
  BULLA_ASSIGN_OR_RETURN(std::optional<std::string> wanted, Text(in, "KeyId"));
  if (wanted && keys.Find(*wanted) != key) {
    return Fail("IncorrectKeyException", "KeyId is not the key of the ciphertext");
  }
  absl::StatusOr<Plaintext> plaintext = OpenUnderKey(*key, context, blob);
  if (!plaintext.ok()) return mismatch;
  json::object reply{{"KeyId", key->arn}, {"EncryptionAlgorithm", "SYMMETRIC_DEFAULT"}};
  BULLA_RETURN_IF_ERROR(AddPlaintext(reply, *plaintext, recipient_key));
  return reply;
}

absl::StatusOr<json::object> ParseBody(std::string_view body) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  boost::system::error_code error;
  json::value value = json::parse(body, error, {}, options);
  if (error || !value.is_object()) {
    return Fail("SerializationException", "the body is not a JSON object");
  }
  return std::move(value.as_object());
}

absl::Status BadSignature(std::string_view message) {
  return Fail("InvalidSignatureException", message);
}

// The request as its sender must have signed it: the headers that the signature names.
absl::StatusOr<SigV4Request> SignedPart(const KmsRequest& request,
                                        const ParsedSigV4Authorization& authorization) {
  SigV4Request part{.method = request.method,
                    .path = request.target,
                    .query = "",
                    .headers = {},
                    .body = AsBytes(request.body)};
  const std::vector<std::string>& names = authorization.signed_headers;
  for (const auto& [name, value] : request.headers) {
    std::string lower = Lower(name);
    bool is_signed = std::binary_search(names.begin(), names.end(), lower);
    // What changes the meaning of a request must be signed.
    bool must = lower == "host" || lower.starts_with("x-amz-");
    if (must && !is_signed) return BadSignature(fmt::format("header {} is not signed", lower));
    if (is_signed) part.headers.emplace_back(name, value);
  }
  for (const std::string& name : names) {
    bool there = std::any_of(request.headers.begin(), request.headers.end(),
                             [&](const auto& header) { return Lower(header.first) == name; });
    if (!there) return BadSignature(fmt::format("signed header {} is missing", name));
  }
  return part;
}

}  // namespace

std::optional<std::string_view> KmsRequest::Header(std::string_view name) const {
  std::optional<std::string_view> found;
  for (const auto& [header, value] : headers) {
    if (Lower(header) != name) continue;
    if (found) return std::nullopt;
    found = value;
  }
  return found;
}

const std::array<std::string_view, KmsService::kOperations> KmsService::kOperationNames = {
    "CreateKey", "DescribeKey", "ListKeys", "GenerateDataKey", "Encrypt", "Decrypt"};

KmsService::KmsService(KmsServiceOptions options, KeyRing& keys, const Clock& clock)
    : options_(std::move(options)), keys_(keys), clock_(clock) {}

KmsReply KmsService::Handle(const KmsRequest& request) {
  if (request.method == "GET" && request.target == "/stats") return {200, Stats()};
  absl::StatusOr<std::string> reply = Run(request);
  return reply.ok() ? KmsReply{200, *std::move(reply)} : ErrorReply(reply.status());
}

absl::StatusOr<std::string> KmsService::Run(const KmsRequest& request) {
  if (request.method != "POST" || request.target != "/") {
    return Fail("UnknownOperationException", "operations are POST /");
  }
  std::string_view target = request.Header("x-amz-target").value_or("");
  auto name = std::find_if(kOperationNames.begin(), kOperationNames.end(), [&](std::string_view n) {
    return target == fmt::format("{}{}", kTargetPrefix, n);
  });
  if (name == kOperationNames.end()) {
    return Fail("UnknownOperationException", "this KMS does not have the operation");
  }
  BULLA_RETURN_IF_ERROR(Authenticate(request));
  auto operation = static_cast<Operation>(name - kOperationNames.begin());
  calls_[operation].fetch_add(1, std::memory_order_relaxed);

  BULLA_ASSIGN_OR_RETURN(json::object in, ParseBody(request.body));
  WallTime now = clock_.WallNow();
  absl::StatusOr<json::object> reply = json::object();
  if (operation == kCreateKey) {
    reply = CreateKey(keys_, in, now);
  } else if (operation == kDescribeKey) {
    reply = DescribeKey(keys_, in);
  } else if (operation == kListKeys) {
    reply = ListKeys(keys_);
  } else if (operation == kEncrypt) {
    reply = Encrypt(keys_, in);
  } else {
    BULLA_ASSIGN_OR_RETURN(std::optional<Bytes> recipient_key,
                           RecipientKey(in, options_.attestation_root, now));
    reply = operation == kDecrypt ? Decrypt(keys_, in, recipient_key)
                                  : GenerateDataKey(keys_, in, recipient_key);
  }
  BULLA_RETURN_IF_ERROR(reply.status());
  return json::serialize(*reply);
}

absl::Status KmsService::Authenticate(const KmsRequest& request) const {
  std::optional<std::string_view> header = request.Header("authorization");
  if (!header) return Fail("MissingAuthenticationTokenException", "no Authorization header");
  absl::StatusOr<ParsedSigV4Authorization> authorization = ParseSigV4Authorization(*header);
  if (!authorization.ok()) {
    return Fail("IncompleteSignatureException", std::string(authorization.status().message()));
  }
  auto caller = std::find_if(
      options_.credentials.begin(), options_.credentials.end(),
      [&](const AwsCredentials& c) { return c.access_key_id == authorization->access_key_id; });
  if (caller == options_.credentials.end() ||
      !ConstantTimeEquals(AsBytes(request.Header("x-amz-security-token").value_or("")),
                          AsBytes(caller->session_token))) {
    return Fail("UnrecognizedClientException", "the security token is not known here");
  }
  std::string_view amz_date = request.Header("x-amz-date").value_or("");
  absl::StatusOr<WallTime> date = ParseAmzDate(amz_date);
  if (!date.ok()) {
    return Fail("IncompleteSignatureException", std::string(date.status().message()));
  }
  WallTime now = clock_.WallNow();
  if (*date < now - kClockSkewMax || *date > now + kClockSkewMax) {
    return BadSignature(
        fmt::format("signature of {}, over five minutes from {}", amz_date, AmzDate(now)));
  }
  const SigV4Scope& scope = authorization->scope;
  if (scope.date != amz_date.substr(0, 8) || scope.region != options_.region ||
      scope.service != kService) {
    return BadSignature(fmt::format("the credential is for {}, not for {}/{}/{}", scope.ToString(),
                                    amz_date.substr(0, 8), options_.region, kService));
  }
  BULLA_ASSIGN_OR_RETURN(SigV4Request part, SignedPart(request, *authorization));
  std::string signature = SigV4Signature(part, scope, amz_date, caller->secret_access_key);
  if (!ConstantTimeEquals(AsBytes(signature), AsBytes(authorization->signature))) {
    return BadSignature("the signature does not match");
  }
  return absl::OkStatus();
}

std::string KmsService::Stats() const {
  json::object stats;
  for (std::size_t i = 0; i < kOperations; ++i) {
    stats[kOperationNames[i]] = calls_[i].load(std::memory_order_relaxed);
  }
  return json::serialize(stats);
}

}  // namespace bulla
