#include "gateway/grpc/server.h"

#include <algorithm>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <memory>
#include <mutex>
#include <utility>

#include <grpcpp/ext/proto_server_reflection_plugin.h>

#include "base/check.h"
#include "bulla/v1/signer.grpc.pb.h"
#include "gateway/frontend/call_rules.h"
#include "gateway/frontend/metrics.h"
#include "gateway/grpc/callback_threads.h"
#include "gateway/grpc/listener.h"
#include "gateway/grpc/shared.h"
#include "gateway/grpc/sign_stream.h"

namespace bulla {
namespace {

constexpr char kServiceName[] = "bulla.v1.Signer";

// ---- Unary calls -----------------------------------------------------------------------------

template <typename Request>
Error CheckRequest(const Request& request) {
  if (!request.tenant_id().empty()) return TenantRefused("tenant_id");
  return CheckUnknownFields(request);
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

grpc::ServerUnaryReactor* FinishNow(GrpcShared& shared, grpc::CallbackServerContext& context,
                                    FrontendMethod method, const Error& error) {
  shared.metrics.Count(method, error.code);
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  reactor->Finish(shared.StatusOf(error));
  return reactor;
}

// Who makes a unary call.
struct UnaryContext {
  UnaryContext(GrpcShared& shared, const grpc::CallbackServerContext& call, std::string id)
      : client(shared.ClientOf(call)),
        request_id(std::move(id)),
        context{.client = &client, .request_id = request_id} {}
  UnaryContext(const UnaryContext&) = delete;
  UnaryContext& operator=(const UnaryContext&) = delete;

  const Client client;
  const std::string request_id;
  const CallContext context;
};

// One unary Sign. It owns itself from Start() until the service delivers it.
class UnarySign final : public SignCall, public CompletionSink {
 public:
  UnarySign(GrpcShared& shared, const grpc::CallbackServerContext& call, std::string request_id,
            grpc::ServerUnaryReactor& reactor, const v1::SignRequest& request,
            v1::SignResponse& response)
      : shared_(shared),
        context_(shared, call, std::move(request_id)),
        reactor_(reactor),
        response_(response),
        der_(request.der()),
        started_at_(shared.clock.Now()) {
    no_wait = request.no_wait();
    sink = this;
    context = &context_.context;
  }

  void Start() {
    shared_.metrics.parse_latency().Observe(MillisSinceStart());
    shared_.service.Sign(this);
  }

  void Complete(SignCall* first) override {
    BULLA_CHECK(first == this && next == nullptr, "a unary call's sink gets that call");
    if (error == ErrorCode::kOk) {
      FillSignature(signature, der_, response_);
      shared_.metrics.total_latency().Observe(MillisSinceStart());
    }
    shared_.metrics.Count(FrontendMethod::kSign, error);
    grpc::ServerUnaryReactor& reactor = reactor_;
    grpc::Status status = shared_.StatusOf({error, {}});
    delete this;
    reactor.Finish(std::move(status));
  }

 private:
  ~UnarySign() override = default;
  double MillisSinceStart() const {
    return std::chrono::duration<double, std::milli>(shared_.clock.Now() - started_at_).count();
  }

  GrpcShared& shared_;
  const UnaryContext context_;
  grpc::ServerUnaryReactor& reactor_;
  v1::SignResponse& response_;
  const bool der_;
  const MonotonicTime started_at_;
};

// ---- The service -----------------------------------------------------------------------------

class SignerApi final : public v1::Signer::CallbackService {
 public:
  SignerApi(GrpcShared& shared, GrpcStreamList& streams) : shared_(shared), streams_(streams) {}

  grpc::ServerUnaryReactor* Create(grpc::CallbackServerContext* context,
                                   const v1::CreateRequest* request,
                                   v1::CreateResponse* response) override {
    std::string request_id = shared_.TakeRequestId(*context);
    Error error = shared_.CheckMetadata(*context);
    if (error.ok()) error = CheckRequest(*request);
    if (error.ok()) error = CheckIdempotencyKey(request->idempotency_key());
    if (!error.ok()) return FinishNow(shared_, *context, FrontendMethod::kCreate, error);
    auto caller = std::make_shared<const UnaryContext>(shared_, *context, std::move(request_id));
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    shared_.service.Create(
        {.idempotency_key = request->idempotency_key(),
         .deadline = shared_.Deadline(*context, shared_.options.calls.create_timeout.Get()),
         .context = &caller->context},
        KeyDone(FrontendMethod::kCreate, caller, reactor, response));
    return reactor;
  }

  grpc::ServerUnaryReactor* GetKey(grpc::CallbackServerContext* context,
                                   const v1::GetKeyRequest* request,
                                   v1::GetKeyResponse* response) override {
    std::string request_id = shared_.TakeRequestId(*context);
    KeyId key_id;
    Error error = shared_.CheckMetadata(*context);
    if (error.ok()) error = CheckRequest(*request);
    if (error.ok()) error = ParseKeyId(request->key_id(), key_id);
    if (!error.ok()) return FinishNow(shared_, *context, FrontendMethod::kGetKey, error);
    auto caller = std::make_shared<const UnaryContext>(shared_, *context, std::move(request_id));
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    shared_.service.GetKey({.key_id = key_id, .context = &caller->context},
                           KeyDone(FrontendMethod::kGetKey, caller, reactor, response));
    return reactor;
  }

  grpc::ServerUnaryReactor* Sign(grpc::CallbackServerContext* context,
                                 const v1::SignRequest* request,
                                 v1::SignResponse* response) override {
    std::string request_id = shared_.TakeRequestId(*context);
    KeyId key_id;
    Digest32 digest;
    Error error = shared_.CheckMetadata(*context);
    if (error.ok()) error = CheckRequest(*request);
    if (error.ok()) error = ParseKeyId(request->key_id(), key_id);
    if (error.ok()) error = ParseDigestBytes(request->digest(), digest);
    if (!error.ok()) return FinishNow(shared_, *context, FrontendMethod::kSign, error);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    auto* call =
        new UnarySign(shared_, *context, std::move(request_id), *reactor, *request, *response);
    call->deadline = shared_.Deadline(*context, shared_.options.calls.sign_timeout.Get());
    call->key_id = key_id;
    call->digest = digest;
    call->Start();
    return reactor;
  }

  grpc::ServerBidiReactor<v1::SignStreamRequest, v1::SignStreamResponse>* SignStream(
      grpc::CallbackServerContext* context) override {
    return ServeSignStream(shared_, streams_, *context);
  }

 private:
  template <typename Response>
  SignerService::KeyDone KeyDone(FrontendMethod method, std::shared_ptr<const UnaryContext> caller,
                                 grpc::ServerUnaryReactor* reactor, Response* response) {
    return [this, method, caller = std::move(caller), reactor, response](const Error& error,
                                                                         const KeyRow& key) {
      if (error.ok()) FillKey(key, *response);
      shared_.metrics.Count(method, error.code);
      reactor->Finish(shared_.StatusOf(error));
    };
  }

  GrpcShared& shared_;
  GrpcStreamList& streams_;
};

// Both switch things on for the process, so they are done once for it.
void SwitchOnPlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

}  // namespace

class GrpcServer::Impl {
 public:
  Impl(Options options, SignerService& service, Clients& clients, Metrics& metrics,
       const Clock& clock)
      : shared_(std::move(options), service, clients, metrics, clock),
        on_accept_pause_(Acceptor::CountIn(metrics, "grpc")),
        api_(shared_, streams_) {}

  absl::StatusOr<std::string> Start() {
    BULLA_CHECK(server_ == nullptr, "GrpcServer::Start is called once");
    SwitchOnPlugins();
    KeepGrpcCallbackThreads();
    BULLA_ASSIGN_OR_RETURN(listener_,
                           GrpcListener::Open({.listen = shared_.options.listen,
                                               .proxies = shared_.options.proxy_protocol
                                                              ? shared_.options.forwarded.proxies
                                                              : IpNetworks(),
                                               .on_accept_pause = on_accept_pause_},
                                              shared_.proxied_peers));
    grpc::ServerBuilder builder;
    std::unique_ptr<GrpcListener::Handler> connections =
        builder.experimental().AddExternalConnectionAcceptor(
            grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
            grpc::InsecureServerCredentials());
    builder.RegisterService(&api_);
    builder.SetMaxReceiveMessageSize(limits::kRequestBodyBytesMax);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits::kGrpcCallsPerConnectionMax);
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                               static_cast<int>(limits::kHttpHeaderBytesMax));
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return absl::InternalError("gRPC does not start");
    SetServing(false);
    listener_->Start(std::move(connections));
    return listener_->address();
  }

  void SetServing(bool serving) {
    if (server_ == nullptr) return;
    server_->GetHealthCheckService()->SetServingStatus("", serving);
    server_->GetHealthCheckService()->SetServingStatus(kServiceName, serving);
  }

  bool Drain(MonotonicTime deadline) {
    if (server_ == nullptr) return true;
    SetServing(false);
    streams_.BeginDrain();
    ShutDown(deadline);
    return shared_.clock.Now() < deadline;
  }

  void Stop() {
    if (server_ == nullptr) return;
    streams_.BeginDrain();
    ShutDown(shared_.clock.Now());
    server_.reset();
  }

 private:
  // Takes no new calls and waits; at `deadline` cancels what is left and waits for that.
  void ShutDown(MonotonicTime deadline) {
    if (shut_down_) return;
    shut_down_ = true;
    listener_->StopBlocking();
    auto left = std::max(Duration(0), deadline - shared_.clock.Now());
    server_->Shutdown(shared_.clock.WallNow() + left);
  }

  GrpcShared shared_;
  const std::function<void()> on_accept_pause_;
  GrpcStreamList streams_;
  SignerApi api_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<GrpcListener> listener_;
  bool shut_down_ = false;
};

GrpcServer::GrpcServer(Options options, SignerService& service, Clients& clients, Metrics& metrics,
                       const Clock& clock)
    : impl_(std::make_unique<Impl>(std::move(options), service, clients, metrics, clock)) {}

GrpcServer::~GrpcServer() { Stop(); }

absl::StatusOr<std::string> GrpcServer::Start() { return impl_->Start(); }
void GrpcServer::SetServing(bool serving) { impl_->SetServing(serving); }
bool GrpcServer::Drain(MonotonicTime deadline) { return impl_->Drain(deadline); }
void GrpcServer::Stop() { impl_->Stop(); }

}  // namespace bulla
