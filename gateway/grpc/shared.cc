#include "gateway/grpc/shared.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include "base/random.h"
#include "gateway/frontend/call_rules.h"
#include "gateway/frontend/der.h"
#include "google/rpc/status.pb.h"

namespace bulla {
namespace {

constexpr char kRequestIdName[] = "x-request-id";

std::string NamedMessage(const Error& error) {
  return fmt::format("{}: {}", ErrorRowOf(error.code).name, error.Message());
}

}  // namespace

std::string GrpcShared::TakeRequestId(grpc::CallbackServerContext& context) {
  std::string_view callers;
  const auto [first, last] = context.client_metadata().equal_range(kRequestIdName);
  for (auto sent = first; sent != last && !IsAcceptableRequestId(callers); ++sent) {
    callers = {sent->second.data(), sent->second.size()};
  }
  std::string id;
  {
    MutexLock lock(mutex_);
    id = ids_.Take(callers);
  }
  context.AddInitialMetadata(kRequestIdName, id);
  context.AddTrailingMetadata(kRequestIdName, id);
  return id;
}

Client GrpcShared::ClientOf(const grpc::CallbackServerContext& context) {
  IpAddress address{};  // all that has none (a Unix socket) is one client
  if (std::optional<IpEndpoint> peer = ParseGrpcPeer(context.peer())) {
    address = proxied_peers.SourceOf(*peer);
  }
  const ForwardedRules& rules = options.forwarded;
  if (rules.Apply(address)) {
    const std::string field(kForwardedFieldNames[static_cast<std::size_t>(rules.field)]);
    std::string value;
    auto [begin, end] = context.client_metadata().equal_range(field);
    for (auto line = begin; line != end; ++line) {
      if (!value.empty()) value += ',';
      value.append(line->second.data(), line->second.size());
    }
    if (!value.empty()) address = ClientBehind(address, value, rules);
  }
  return {clients, bulla::ClientOf(address)};
}

MonotonicTime GrpcShared::Deadline(const grpc::CallbackServerContext& context,
                                   Duration timeout) const {
  auto callers = std::chrono::duration_cast<Duration>(context.deadline() - clock.WallNow());
  return clock.Now() + std::min(timeout, callers);
}

grpc::Status GrpcShared::StatusOf(const Error& error) const {
  if (error.ok()) return grpc::Status::OK;
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
  return {static_cast<grpc::StatusCode>(row.grpc_status), message, details.SerializeAsString()};
}

Error GrpcShared::CheckMetadata(const grpc::CallbackServerContext& context) const {
  const grpc::string_ref authority = context.ExperimentalGetAuthority();
  const std::string_view host(authority.data(), authority.size());
  if (!options.hosts.Allow(host)) {
    return {ErrorCode::kPermissionDenied, HostRefused(":authority", host)};
  }
  for (std::string_view name : kTenantNames) {
    // Metadata has lower-case names.
    if (context.client_metadata().contains({name.data(), name.size()})) return TenantRefused(name);
  }
  return {};
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
