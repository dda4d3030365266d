#include "gateway/grpc/unary.h"

#include <memory>
#include <string>
#include <utility>

#include "bulla/v1/signer.pb.h"
#include "gateway/frontend/call_rules.h"
#include "gateway/frontend/metrics.h"
#include "gateway/grpc/connection.h"
#include "gateway/grpc/worker.h"

namespace bulla {
namespace {

template <typename Request>
Error ParseRequest(ByteSpan bytes, Request& request) {
  Error error = ParseMessage(bytes, request);
  if (error.ok() && !request.tenant_id().empty()) return TenantRefused("tenant_id");
  return error;
}

void FillKey(const KeyRow& key, v1::CreateResponse& out) {
  out.set_key_id(key.key_id.ToString());
  out.set_public_key(key.public_key.data(), key.public_key.size());
  out.set_address(key.address);
}

void FillKey(const KeyRow& key, v1::GetKeyResponse& out) {
  out.set_key_id(key.key_id.ToString());
  out.set_public_key(key.public_key.data(), key.public_key.size());
  out.set_address(key.address);
  out.set_created_at(FormatTime(key.created_at));
  out.set_status(std::string(KeyStatusName(key.enabled)));
}

// ---- Sign --------------------------------------------------------------------------------------

// One unary Sign. It owns itself from Start() until the signature is back.
class UnarySign final : public GrpcSigner {
 public:
  UnarySign(GrpcConnection& connection, const http2::GrpcRequest& request)
      : head_(connection, request), read_at_(connection.worker().Now()) {}

  static void Start(std::unique_ptr<UnarySign> self, ByteSpan message) {
    const Error error = self->Take(message);
    GrpcConnection& connection = self->head_.connection();
    if (!error.ok()) {
      return connection.Finish(self->head_.stream(), FrontendMethod::kSign, error);
    }
    connection.CallOut();
    connection.worker().Submit(&self.release()->call_);
  }

  // GrpcSigner
  void OnCallDone(GrpcSignCall& call) override {
    const std::unique_ptr<UnarySign> self(this);
    GrpcConnection& connection = head_.connection();
    GrpcWorker& worker = connection.worker();
    if (call.error == ErrorCode::kOk) {
      v1::SignResponse response;
      FillSignature(call.signature, call.der, response);
      connection.Send(head_.stream(), response);
      worker.total_latency().Observe(worker.Now() - read_at_);
    }
    connection.Finish(head_.stream(), FrontendMethod::kSign, {call.error, {}});
    connection.CallBack();
  }

 private:
  Error Take(ByteSpan message) {
    v1::SignRequest request;
    Error error = head_.error();
    if (error.ok()) error = ParseRequest(message, request);
    if (error.ok()) error = ParseKeyId(request.key_id(), call_.key_id);
    if (error.ok()) error = ParseDigestBytes(request.digest(), call_.digest);
    if (!error.ok()) return error;
    GrpcWorker& worker = head_.connection().worker();
    const MonotonicTime now = worker.Now();
    call_.signer = this;
    call_.context = &head_.context();
    call_.der = request.der();
    call_.no_wait = request.no_wait();
    call_.deadline = head_.Deadline(now, worker.shared().options.calls.sign_timeout.Get());
    worker.parse_latency().Observe(now - read_at_);
    return {};
  }

  const GrpcCallHead head_;
  const MonotonicTime read_at_;
  GrpcSignCall call_;
};

// ---- Create, GetKey ----------------------------------------------------------------------------

// A key that is made or looked up. It owns itself until the service has answered.
template <typename Response>
class UnaryKey final : public KeyAsker {
 public:
  UnaryKey(GrpcConnection& connection, const http2::GrpcRequest& request, FrontendMethod method)
      : head_(connection, request), method_(method) {}

  const GrpcCallHead& head() const { return head_; }

  void Refuse(const Error& error) { head_.connection().Finish(head_.stream(), method_, error); }
  // For the service, which is given the call now.
  static SignerService::KeyDone Start(std::unique_ptr<UnaryKey> self) {
    GrpcConnection& connection = self->head_.connection();
    connection.CallOut();
    return connection.worker().KeyDone(*self.release());
  }

  // KeyAsker
  void OnKey(const Error& error, const KeyRow& key) override {
    const std::unique_ptr<UnaryKey> self(this);
    GrpcConnection& connection = head_.connection();
    if (error.ok()) {
      Response response;
      FillKey(key, response);
      connection.Send(head_.stream(), response);
    }
    connection.Finish(head_.stream(), method_, error);
    connection.CallBack();
  }

 private:
  const GrpcCallHead head_;
  const FrontendMethod method_;
};

}  // namespace

void ServeSign(http2::GrpcServer& server, const http2::GrpcRequest& request, ByteSpan message) {
  UnarySign::Start(std::make_unique<UnarySign>(GrpcConnection::From(server), request), message);
}

void ServeCreate(http2::GrpcServer& server, const http2::GrpcRequest& request, ByteSpan message) {
  GrpcConnection& connection = GrpcConnection::From(server);
  using Call = UnaryKey<v1::CreateResponse>;
  auto call = std::make_unique<Call>(connection, request, FrontendMethod::kCreate);
  v1::CreateRequest asked;
  Error error = call->head().error();
  if (error.ok()) error = ParseRequest(message, asked);
  if (error.ok()) error = CheckIdempotencyKey(asked.idempotency_key());
  if (!error.ok()) return call->Refuse(error);
  GrpcShared& shared = connection.worker().shared();
  CreateCall create{.idempotency_key = asked.idempotency_key(),
                    .deadline = call->head().Deadline(connection.worker().Now(),
                                                      shared.options.calls.create_timeout.Get()),
                    .context = &call->head().context()};
  shared.service.Create(std::move(create), Call::Start(std::move(call)));
}

void ServeGetKey(http2::GrpcServer& server, const http2::GrpcRequest& request, ByteSpan message) {
  GrpcConnection& connection = GrpcConnection::From(server);
  using Call = UnaryKey<v1::GetKeyResponse>;
  auto call = std::make_unique<Call>(connection, request, FrontendMethod::kGetKey);
  v1::GetKeyRequest asked;
  KeyId key_id;
  Error error = call->head().error();
  if (error.ok()) error = ParseRequest(message, asked);
  if (error.ok()) error = ParseKeyId(asked.key_id(), key_id);
  if (!error.ok()) return call->Refuse(error);
  const GetKeyCall look_up{.key_id = key_id, .context = &call->head().context()};
  connection.worker().shared().service.GetKey(look_up, Call::Start(std::move(call)));
}

}  // namespace bulla
