#include "gateway/grpc_server.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <grpcpp/ext/proto_server_reflection_plugin.h>

#include "base/check.h"
#include "base/mutex.h"
#include "base/random.h"
#include "bulla/v1/signer.grpc.pb.h"
#include "gateway/call_rules.h"
#include "gateway/der.h"
#include "gateway/face_metrics.h"
#include "gateway/request_id.h"
#include "google/rpc/status.pb.h"

namespace bulla {
namespace {

constexpr char kServiceName[] = "bulla.v1.Signer";
constexpr char kRequestIdName[] = "x-request-id";

// ---- Errors ----------------------------------------------------------------------------------

std::string NamedMessage(const Error& error) {
  return fmt::format("{}: {}", ErrorRowOf(error.code).name, error.Message());
}

// The status with google.rpc.Status as its details, as the contract has it.
grpc::Status StatusOf(const Error& error) {
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
  if (std::uint32_t wait_ms = RetryAfterMs(error.code, RandomUint64()); wait_ms > 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(static_cast<int>(wait_ms) * 1'000'000);
    details.add_details()->PackFrom(retry);
  }
  return {static_cast<grpc::StatusCode>(row.grpc_status), message, details.SerializeAsString()};
}

// ---- Rules that only protobuf needs ----------------------------------------------------------

Error CheckUnknownFields(const google::protobuf::Message& message) {
  const auto& unknown = message.GetReflection()->GetUnknownFields(message);
  if (unknown.empty()) return {};
  return InvalidArgument(fmt::format("field {}: unknown in {}", unknown.field(0).number(),
                                     message.GetDescriptor()->name()));
}

template <typename Request>
Error CheckRequest(const Request& request) {
  if (!request.tenant_id().empty()) return TenantRefused("tenant_id");
  return CheckUnknownFields(request);
}

Error CheckMetadata(const grpc::CallbackServerContext& context) {
  for (const char* name : {"tenant-id", "tenant_id", "tenantid", "x-tenant-id"}) {
    if (context.client_metadata().contains(name)) return TenantRefused(name);
  }
  return {};
}

// ---- Answers ---------------------------------------------------------------------------------

void FillSignature(const RecoverableSignature& signature, bool der, v1::SignResponse& out) {
  out.set_signature(signature.rs.data(), signature.rs.size());
  out.set_recovery_id(signature.recovery_id);
  if (!der) return;
  Bytes encoded = EncodeDerSignature(signature.rs);
  out.set_der(encoded.data(), encoded.size());
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

// What all calls share. Thread-safe.
class Shared {
 public:
  Shared(GrpcServer::Options o, SignerService& s, Metrics& m, const Clock& c)
      : options(std::move(o)), service(s), clock(c), metrics(m, "grpc") {}

  // The caller's request id, or a new one; echoed before the first message and with the status,
  // since client libraries differ in which of the two they show.
  std::string TakeRequestId(grpc::CallbackServerContext& context) {
    std::string_view callers;
    auto found = context.client_metadata().find(kRequestIdName);
    if (found != context.client_metadata().end()) {
      callers = {found->second.data(), found->second.size()};
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

  // The earlier of the caller's deadline and `timeout` from now.
  MonotonicTime Deadline(const grpc::CallbackServerContext& context, Duration timeout) const {
    auto callers = std::chrono::duration_cast<Duration>(context.deadline() - clock.WallNow());
    return clock.Now() + std::min(timeout, callers);
  }

  bool Admit(std::size_t calls) {
    if (calls_in_flight_.fetch_add(calls) + calls <= limits::kFaceCallsInFlightMax) return true;
    calls_in_flight_.fetch_sub(calls);
    return false;
  }
  void Release(std::size_t calls) { calls_in_flight_.fetch_sub(calls); }

  const GrpcServer::Options options;
  SignerService& service;
  const Clock& clock;
  FaceMetrics metrics;

 private:
  std::atomic<std::size_t> calls_in_flight_{0};
  Mutex mutex_;
  RequestIdSource ids_ BULLA_GUARDED_BY(mutex_);
};

grpc::ServerUnaryReactor* FinishNow(Shared& shared, grpc::CallbackServerContext& context,
                                    FaceMethod method, const Error& error) {
  shared.metrics.Count(method, error.code);
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  reactor->Finish(StatusOf(error));
  return reactor;
}

// One unary Sign. It owns itself from Start() until the service delivers it.
class UnarySign final : public SignCall, public CallHome {
 public:
  UnarySign(Shared& shared, const grpc::CallbackServerContext& context,
            grpc::ServerUnaryReactor& reactor, const v1::SignRequest& request,
            v1::SignResponse& response)
      : shared_(shared),
        reactor_(reactor),
        response_(response),
        der_(request.der()),
        started_at_(shared.clock.Now()) {
    deadline = shared.Deadline(context, shared.options.sign_timeout);
    home = this;
  }

  void Start() {
    shared_.metrics.parse_latency().Observe(MillisSinceStart());
    shared_.service.Sign(this);
  }

  void Deliver(SignCall* first) override {
    BULLA_CHECK(first == this && next == nullptr, "a unary call's home gets that call");
    if (error == ErrorCode::kOk) {
      FillSignature(signature, der_, response_);
      shared_.metrics.total_latency().Observe(MillisSinceStart());
    }
    shared_.metrics.Count(FaceMethod::kSign, error);
    shared_.Release(1);
    grpc::ServerUnaryReactor& reactor = reactor_;
    grpc::Status status = StatusOf({error, {}});
    delete this;
    reactor.Finish(std::move(status));
  }

 private:
  ~UnarySign() override = default;
  double MillisSinceStart() const {
    return std::chrono::duration<double, std::milli>(shared_.clock.Now() - started_at_).count();
  }

  Shared& shared_;
  grpc::ServerUnaryReactor& reactor_;
  v1::SignResponse& response_;
  const bool der_;
  const MonotonicTime started_at_;
};

// ---- SignStream ------------------------------------------------------------------------------

class SignStream;

// The streams there are, so that a drain can end them. Thread-safe.
class StreamList {
 public:
  // False while draining: the stream is to end at once.
  bool Add(SignStream* stream) {
    MutexLock lock(mutex_);
    streams_.insert(stream);
    return !draining_;
  }
  void Remove(SignStream* stream) {
    MutexLock lock(mutex_);
    streams_.erase(stream);
  }
  void BeginDrain();

 private:
  Mutex mutex_;
  std::set<SignStream*> streams_ BULLA_GUARDED_BY(mutex_);
  bool draining_ BULLA_GUARDED_BY(mutex_) = false;
};

struct StreamCall final : SignCall {
  std::uint64_t ref = 0;
  bool der = false;
  MonotonicTime read_at;
};

// One SignStream. Reactions (OnReadDone, OnWriteDone, OnCancel, OnDone) come on gRPC's threads,
// Deliver on the service's.
//
// There is at most one read and one write under way; what is finished meanwhile is gathered and
// leaves as one message when the write ends. The stream is read only while fewer than
// kStreamItemsUnansweredMax items wait for the caller to take their results.
//
// It ends when no more is to be read and everything that was read is answered, and deletes itself
// in OnDone. Deliver gives up its calls only at its very end, so that nothing finishes under its
// feet.
class SignStream final
    : public grpc::ServerBidiReactor<v1::SignStreamRequest, v1::SignStreamResponse>,
      public CallHome {
 public:
  SignStream(Shared& shared, StreamList& streams, grpc::CallbackServerContext& context)
      : shared_(shared),
        streams_(streams),
        context_(context),
        parse_latency_(shared.metrics.parse_latency()),
        total_latency_(shared.metrics.total_latency()) {
    shared.TakeRequestId(context);
    Error error = CheckMetadata(context);
    bool welcome = streams.Add(this);
    if (error.ok() && !welcome) error.code = ErrorCode::kUnavailable;
    Act act;
    {
      MutexLock lock(mutex_);
      if (!error.ok()) EndReading(std::move(error));
      act = Next();
    }
    Do(act);
  }

  void OnReadDone(bool ok) override {
    SignCall* submit = nullptr;
    Act act;
    {
      MutexLock lock(mutex_);
      reading_ = false;
      if (!ok) {
        reading_over_ = true;
      } else if (!reading_over_) {
        submit = TakeRequest();
      }
      if (submit == nullptr) act = Next();
    }
    if (submit != nullptr) {
      shared_.service.Sign(submit);
      MutexLock lock(mutex_);
      act = Next();
    }
    Do(act);
  }

  void OnWriteDone(bool ok) override {
    Act act;
    {
      MutexLock lock(mutex_);
      writing_ = false;
      unanswered_ -= static_cast<std::size_t>(outgoing_.results_size());
      outgoing_.Clear();
      if (!ok) reading_over_ = broken_ = true;
      act = Next();
    }
    Do(act);
  }

  void OnCancel() override {
    Act act;
    {
      MutexLock lock(mutex_);
      reading_over_ = broken_ = true;
      act = Next();
    }
    Do(act);
  }

  void OnDone() override {
    streams_.Remove(this);
    delete this;
  }

  // CallHome.
  void Deliver(SignCall* first) override {
    std::size_t count = 0;
    Act act;
    {
      MutexLock lock(mutex_);
      MonotonicTime now = shared_.clock.Now();
      for (SignCall* call = first; call != nullptr; ++count) {
        auto* done = static_cast<StreamCall*>(call);
        call = std::exchange(done->next, nullptr);
        AddResult(*done, now);
        free_calls_.push_back(done);
      }
      act = Next();
    }
    Do(act);
    shared_.Release(count);
    {
      MutexLock lock(mutex_);
      with_service_ -= count;
      act = Next();
    }
    Do(act);
  }

  // Reads no more, answers what was read, and ends with UNAVAILABLE.
  void BeginDrain() {
    Act act;
    {
      MutexLock lock(mutex_);
      if (!reading_over_) EndReading({ErrorCode::kUnavailable, "this gateway is shutting down"});
      act = Next();
    }
    Do(act);
  }

 private:
  // What is to be done once the lock is released. gRPC is never called under it.
  struct Act {
    bool read = false;
    bool write = false;
    bool finish = false;
    grpc::Status status;
  };

  void EndReading(Error error) BULLA_REQUIRES(mutex_) {
    reading_over_ = true;
    error_ = std::move(error);
  }

  Act Next() BULLA_REQUIRES(mutex_) {
    Act act;
    if (finished_) return act;
    if (broken_) {  // nobody will take them
      unanswered_ -= static_cast<std::size_t>(gathered_.results_size());
      gathered_.Clear();
    }
    if (!writing_ && gathered_.results_size() > 0) {
      act.write = writing_ = true;
      outgoing_.Swap(&gathered_);
      parse_latency_.Flush();
      total_latency_.Flush();
    }
    if (!reading_ && !reading_over_ && unanswered_ < limits::kStreamItemsUnansweredMax) {
      act.read = reading_ = true;
    }
    if (reading_over_ && !writing_ && with_service_ == 0 && gathered_.results_size() == 0) {
      act.finish = finished_ = true;
      act.status = broken_ ? grpc::Status::CANCELLED : StatusOf(error_);
      shared_.metrics.Count(FaceMethod::kStream, error_.code);
    }
    return act;
  }

  void Do(const Act& act) {
    if (act.write) StartWrite(&outgoing_);
    if (act.read) StartRead(&request_);
    if (act.finish) Finish(act.status);  // the last touch: OnDone may follow at once
  }

  // Takes the items of the message that was read. Returns those for the service, linked.
  SignCall* TakeRequest() BULLA_REQUIRES(mutex_) {
    Error error = CheckUnknownFields(request_);
    auto count = static_cast<std::size_t>(request_.items_size());
    if (error.ok() && count == 0) error = BatchEmpty();
    if (error.ok() && count > limits::kBatchItemsMax) error = BatchTooLong();
    if (!error.ok()) {
      EndReading(std::move(error));
      return nullptr;
    }
    MonotonicTime now = shared_.clock.Now();
    MonotonicTime deadline = shared_.Deadline(context_, shared_.options.sign_timeout);
    unanswered_ += count;
    SignCall* first = nullptr;
    for (const v1::SignStreamItem& item : request_.items()) {
      StreamCall* call = TakeItem(item);
      if (call == nullptr) continue;
      call->read_at = now;
      call->deadline = deadline;
      call->next = first;
      first = call;
    }
    parse_latency_.Observe(shared_.clock.Now() - now);
    return first;
  }

  // Nothing when the item is answered already, with an error.
  StreamCall* TakeItem(const v1::SignStreamItem& item) BULLA_REQUIRES(mutex_) {
    KeyId key_id;
    Digest32 digest;
    Error error = CheckUnknownFields(item);
    if (error.ok()) error = ParseKeyId(item.key_id(), key_id);
    if (error.ok()) error = ParseDigestBytes(item.digest(), digest);
    if (error.ok() && !shared_.Admit(1)) error.code = ErrorCode::kRetryLater;
    if (!error.ok()) {
      AddError(item.ref(), error);
      return nullptr;
    }
    if (free_calls_.empty()) free_calls_.push_back(&calls_.emplace_back());
    StreamCall* call = free_calls_.back();
    free_calls_.pop_back();
    call->home = this;
    call->ref = item.ref();
    call->key_id = key_id;
    call->digest = digest;
    call->der = item.der();
    call->error = ErrorCode::kOk;
    ++with_service_;
    return call;
  }

  void AddResult(const StreamCall& call, MonotonicTime now) BULLA_REQUIRES(mutex_) {
    if (call.error != ErrorCode::kOk) return AddError(call.ref, {call.error, {}});
    v1::SignStreamResult& result = *gathered_.add_results();
    result.set_ref(call.ref);
    FillSignature(call.signature, call.der, *result.mutable_ok());
    shared_.metrics.Count(FaceMethod::kStreamItem, ErrorCode::kOk);
    total_latency_.Observe(now - call.read_at);
  }

  void AddError(std::uint64_t ref, const Error& error) BULLA_REQUIRES(mutex_) {
    v1::SignStreamResult& result = *gathered_.add_results();
    result.set_ref(ref);
    result.mutable_error()->set_code(std::string(ErrorRowOf(error.code).name));
    result.mutable_error()->set_message(std::string(error.Message()));
    result.mutable_error()->set_retry_after_ms(RetryAfterMs(error.code, jitter_++ * 37));
    shared_.metrics.Count(FaceMethod::kStreamItem, error.code);
  }

  Shared& shared_;
  StreamList& streams_;
  grpc::CallbackServerContext& context_;

  // Owned by the read, or the write, that is under way.
  v1::SignStreamRequest request_;
  v1::SignStreamResponse outgoing_;

  Mutex mutex_;
  v1::SignStreamResponse gathered_ BULLA_GUARDED_BY(mutex_);  // results for the next message
  std::deque<StreamCall> calls_ BULLA_GUARDED_BY(mutex_);     // all there are; they never move
  std::vector<StreamCall*> free_calls_ BULLA_GUARDED_BY(mutex_);
  std::size_t unanswered_ BULLA_GUARDED_BY(mutex_) = 0;    // items read, results not yet taken
  std::size_t with_service_ BULLA_GUARDED_BY(mutex_) = 0;  // calls that Deliver will bring back
  bool reading_ BULLA_GUARDED_BY(mutex_) = false;
  bool writing_ BULLA_GUARDED_BY(mutex_) = false;
  bool reading_over_ BULLA_GUARDED_BY(mutex_) = false;
  bool broken_ BULLA_GUARDED_BY(mutex_) = false;  // cancelled, or the caller is gone
  bool finished_ BULLA_GUARDED_BY(mutex_) = false;
  Error error_ BULLA_GUARDED_BY(mutex_);  // what the stream ends with
  std::uint64_t jitter_ BULLA_GUARDED_BY(mutex_) = RandomUint64();
  LatencyTally parse_latency_ BULLA_GUARDED_BY(mutex_);
  LatencyTally total_latency_ BULLA_GUARDED_BY(mutex_);
};

void StreamList::BeginDrain() {
  MutexLock lock(mutex_);
  draining_ = true;
  for (SignStream* stream : streams_) stream->BeginDrain();
}

// ---- The service -----------------------------------------------------------------------------

class Face final : public v1::Signer::CallbackService {
 public:
  Face(Shared& shared, StreamList& streams) : shared_(shared), streams_(streams) {}

  grpc::ServerUnaryReactor* Create(grpc::CallbackServerContext* context,
                                   const v1::CreateRequest* request,
                                   v1::CreateResponse* response) override {
    CreateCall call;
    call.request_id = shared_.TakeRequestId(*context);
    Error error = CheckMetadata(*context);
    if (error.ok()) error = CheckRequest(*request);
    if (error.ok()) error = CheckIdempotencyKey(request->idempotency_key());
    if (!error.ok()) return FinishNow(shared_, *context, FaceMethod::kCreate, error);
    call.idempotency_key = request->idempotency_key();
    call.deadline = shared_.Deadline(*context, shared_.options.create_timeout);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    shared_.service.Create(std::move(call), KeyDone(FaceMethod::kCreate, reactor, response));
    return reactor;
  }

  grpc::ServerUnaryReactor* GetKey(grpc::CallbackServerContext* context,
                                   const v1::GetKeyRequest* request,
                                   v1::GetKeyResponse* response) override {
    shared_.TakeRequestId(*context);
    KeyId key_id;
    Error error = CheckMetadata(*context);
    if (error.ok()) error = CheckRequest(*request);
    if (error.ok()) error = ParseKeyId(request->key_id(), key_id);
    if (!error.ok()) return FinishNow(shared_, *context, FaceMethod::kGetKey, error);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    shared_.service.GetKey(key_id, KeyDone(FaceMethod::kGetKey, reactor, response));
    return reactor;
  }

  grpc::ServerUnaryReactor* Sign(grpc::CallbackServerContext* context,
                                 const v1::SignRequest* request,
                                 v1::SignResponse* response) override {
    shared_.TakeRequestId(*context);
    KeyId key_id;
    Digest32 digest;
    Error error = CheckMetadata(*context);
    if (error.ok()) error = CheckRequest(*request);
    if (error.ok()) error = ParseKeyId(request->key_id(), key_id);
    if (error.ok()) error = ParseDigestBytes(request->digest(), digest);
    if (error.ok() && !shared_.Admit(1)) error.code = ErrorCode::kRetryLater;
    if (!error.ok()) return FinishNow(shared_, *context, FaceMethod::kSign, error);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    auto* call = new UnarySign(shared_, *context, *reactor, *request, *response);
    call->key_id = key_id;
    call->digest = digest;
    call->Start();
    return reactor;
  }

  grpc::ServerBidiReactor<v1::SignStreamRequest, v1::SignStreamResponse>* SignStream(
      grpc::CallbackServerContext* context) override {
    return new bulla::SignStream(shared_, streams_, *context);  // deletes itself in OnDone
  }

 private:
  template <typename Response>
  SignerService::KeyDone KeyDone(FaceMethod method, grpc::ServerUnaryReactor* reactor,
                                 Response* response) {
    return [this, method, reactor, response](Error error, const KeyRow& key) {
      if (error.ok()) FillKey(key, *response);
      shared_.metrics.Count(method, error.code);
      reactor->Finish(StatusOf(error));
    };
  }

  Shared& shared_;
  StreamList& streams_;
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
  Impl(Options options, SignerService& service, Metrics& metrics, const Clock& clock)
      : shared_(std::move(options), service, metrics, clock), face_(shared_, streams_) {}

  absl::StatusOr<std::string> Start() {
    BULLA_CHECK(server_ == nullptr, "GrpcServer::Start is called once");
    SwitchOnPlugins();
    const std::string& listen = shared_.options.listen;
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&face_);
    builder.SetMaxReceiveMessageSize(limits::kRequestBodyBytesMax);
    // Two gateways on one port would share its connections in silence.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits::kGrpcCallsPerConnectionMax);
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                               static_cast<int>(limits::kHttpHeaderBytesMax));
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      return absl::UnavailableError(fmt::format("cannot listen on {} for gRPC", listen));
    }
    SetServing(false);
    return fmt::format("{}:{}", listen.substr(0, listen.rfind(':')), port);
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
    auto left = std::max(Duration(0), deadline - shared_.clock.Now());
    server_->Shutdown(shared_.clock.WallNow() + left);
  }

  Shared shared_;
  StreamList streams_;
  Face face_;
  std::unique_ptr<grpc::Server> server_;
  bool shut_down_ = false;
};

GrpcServer::GrpcServer(Options options, SignerService& service, Metrics& metrics,
                       const Clock& clock)
    : impl_(std::make_unique<Impl>(std::move(options), service, metrics, clock)) {}

GrpcServer::~GrpcServer() { Stop(); }

absl::StatusOr<std::string> GrpcServer::Start() { return impl_->Start(); }
void GrpcServer::SetServing(bool serving) { impl_->SetServing(serving); }
bool GrpcServer::Drain(MonotonicTime deadline) { return impl_->Drain(deadline); }
void GrpcServer::Stop() { impl_->Stop(); }

}  // namespace bulla
