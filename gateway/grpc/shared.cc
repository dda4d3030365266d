#include "gateway/grpc/shared.h"

#include <fmt/format.h>

#include "base/random.h"
#include "gateway/frontend/call_rules.h"
#include "gateway/frontend/der.h"
#include "gateway/frontend/request_id.h"
#include "google/rpc/status.pb.h"

namespace bulla {
namespace {

std::string NamedMessage(const Error& error) {
  return fmt::format("{}: {}", ErrorRowOf(error.code).name, error.Message());
}

}  // namespace

std::string_view GrpcShared::RequestIdOf(const http2::HeaderBlock& headers) const {
  for (std::size_t i = 0; i < headers.size(); ++i) {
    const http2::Header header = headers[i];
    if (header.name == kGrpcRequestIdName && IsAcceptableRequestId(header.value)) {
      return header.value;
    }
  }
  return {};
}

std::optional<Client> GrpcShared::ClientBehindProxy(const http2::HeaderBlock& headers,
                                                    const IpAddress& peer) {
  const ForwardedRules& rules = options.forwarded;
  if (!rules.Apply(peer)) return std::nullopt;
  const std::string_view field = kForwardedFieldNames[static_cast<std::size_t>(rules.field)];
  std::string value;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    const http2::Header header = headers[i];
    if (header.name != field) continue;
    if (!value.empty()) value += ',';
    value += header.value;
  }
  if (value.empty()) return std::nullopt;
  return std::optional<Client>(std::in_place, clients, ClientOf(ClientBehind(peer, value, rules)));
}

http2::GrpcStatus GrpcShared::StatusOf(const Error& error) const {
  if (error.ok()) return {};
  const ErrorRow& row = ErrorRowOf(error.code);
  std::string message = NamedMessage(error);
  google::rpc::Status details;
  details.set_code(row.grpc_status);
  details.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(row.name));
  info.set_domain("bulla");
  details.add_details()->PackFrom(info);
  if (std::uint32_t wait_ms = RetryAfterMs(error, options.calls.retry_hint(), RandomUint64());
      wait_ms > 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(wait_ms / 1000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int>(wait_ms % 1000) * 1'000'000);
    details.add_details()->PackFrom(retry);
  }
  return {static_cast<absl::StatusCode>(row.grpc_status), std::move(message),
          details.SerializeAsString()};
}

Error GrpcShared::CheckHeaders(const http2::HeaderBlock& headers) const {
  const std::string_view host =
      headers.Find(":authority").value_or(headers.Find("host").value_or(""));
  if (!options.hosts.Allow(host)) {
    return {ErrorCode::kPermissionDenied, HostRefused(":authority", host)};
  }
  for (std::string_view name : kTenantNames) {  // metadata has lower-case names
    if (headers.Find(name)) return TenantRefused(name);
  }
  return {};
}

Error ParseMessage(ByteSpan bytes, google::protobuf::Message& message) {
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return InvalidArgument(fmt::format("message: got {} bytes that are no {}", bytes.size(),
                                       message.GetDescriptor()->name()));
  }
  return CheckUnknownFields(message);
}

Error CheckUnknownFields(const google::protobuf::Message& message) {
  const auto& unknown = message.GetReflection()->GetUnknownFields(message);
  if (unknown.empty()) return {};
  return InvalidArgument(fmt::format("field {}: unknown in {}", unknown.field(0).number(),
                                     message.GetDescriptor()->name()));
}

void FillSignature(const RecoverableSignature& signature, bool der, v1::SignResponse& out) {
  out.set_signature(signature.rs.data(), signature.rs.size());
  out.set_recovery_id(signature.recovery_id);
  if (!der) return;
  Bytes encoded = EncodeDerSignature(signature.rs);
  out.set_der(encoded.data(), encoded.size());
}

}  // namespace bulla
