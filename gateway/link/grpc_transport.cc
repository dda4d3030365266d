#include "gateway/link/grpc_transport.h"

#include <chrono>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <string>
#include <utility>

#include <absl/container/flat_hash_set.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/unlock_cause.h"
#include "wire/enclave.grpc.pb.h"
#include "wire/enclave_report.h"
#include "wire/grpc_callbacks.h"

namespace bulla {
namespace {

constexpr std::chrono::milliseconds kDialTimeout{1000};

class GrpcFrameConnection final
    : public FrameConnection,
      private grpc::ClientBidiReactor<wire::v1::RequestFrame, wire::v1::ReplyFrame> {
 public:
  explicit GrpcFrameConnection(std::shared_ptr<grpc::Channel> channel)
      : channel_(std::move(channel)), stub_(wire::v1::Enclave::NewStub(channel_)) {}

  void Start(FrameEvents& events) override {
    events_ = &events;
    stub_->async()->Session(&context_, this);
    AddHold();  // writes start outside gRPC's own reactions
    StartRead(&incoming_);
    StartCall();
  }

  void Write(const RequestBatch& batch) override {
    EncodeRequest(batch, outgoing_);
    StartWrite(&outgoing_);
  }

  void Close() override { context_.TryCancel(); }  // ends the read under way
  void Finish() override { RemoveHold(); }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return events_->OnBroken();
    absl::Status decoded = DecodeReply(incoming_, replies_);
    if (!decoded.ok()) {
      LogError("reply_frame_refused", {{"reason", std::string(decoded.message())}});
      Close();
      return events_->OnBroken();
    }
    events_->OnReplies(replies_);
    StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override { events_->OnWriteDone(ok); }
  void OnDone(const grpc::Status&) override { events_->OnClosed(); }  // may delete this

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<wire::v1::Enclave::Stub> stub_;
  grpc::ClientContext context_;
  FrameEvents* events_ = nullptr;
  wire::v1::RequestFrame outgoing_;  // of the write under way
  // Of the read under way.
  wire::v1::ReplyFrame incoming_;
  ReplyBatch replies_;
};

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status failed(static_cast<absl::StatusCode>(status.error_code()),
                      ShownText(status.error_message()));
  if (status.error_details().empty()) return failed;
  return WithCause(std::move(failed), DecodeCause(status.error_details()));
}

class GrpcControlConnection final : public ControlConnection,
                                    public std::enable_shared_from_this<GrpcControlConnection> {
 public:
  explicit GrpcControlConnection(std::shared_ptr<grpc::Channel> channel)
      : stub_(wire::v1::Enclave::NewStub(std::move(channel))) {}

  void Hello(const wire::v1::HelloRequest& request, Timeout timeout,
             Done<wire::v1::HelloReply> done) override {
    Start(request, timeout, std::move(done),
          [](auto* async, auto&&... all) { async->Hello(std::forward<decltype(all)>(all)...); });
  }
  void Unlock(const wire::v1::UnlockRequest& request, Timeout timeout,
              Done<wire::v1::UnlockReply> done) override {
    Start(request, timeout, std::move(done),
          [](auto* async, auto&&... all) { async->Unlock(std::forward<decltype(all)>(all)...); });
  }
  void SealUnder(const wire::v1::SealUnderRequest& request, Timeout timeout,
                 Done<wire::v1::SealUnderReply> done) override {
    Start(request, timeout, std::move(done), [](auto* async, auto&&... all) {
      async->SealUnder(std::forward<decltype(all)>(all)...);
    });
  }
  void Configure(const wire::v1::ConfigureRequest& request, Timeout timeout,
                 Done<wire::v1::ConfigureReply> done) override {
    Start(request, timeout, std::move(done), [](auto* async, auto&&... all) {
      async->Configure(std::forward<decltype(all)>(all)...);
    });
  }
  void KeysInUse(const wire::v1::KeysInUseRequest& request, Timeout timeout,
                 Done<wire::v1::KeysInUseReply> done) override {
    Start(request, timeout, std::move(done), [](auto* async, auto&&... all) {
      async->KeysInUse(std::forward<decltype(all)>(all)...);
    });
  }
  void Forget(const wire::v1::ForgetRequest& request, Timeout timeout,
              Done<wire::v1::ForgetReply> done) override {
    Start(request, timeout, std::move(done),
          [](auto* async, auto&&... all) { async->Forget(std::forward<decltype(all)>(all)...); });
  }
  void Probe(const wire::v1::ProbeRequest& request, Timeout timeout,
             Done<wire::v1::ProbeReply> done) override {
    Start(request, timeout, std::move(done),
          [](auto* async, auto&&... all) { async->Probe(std::forward<decltype(all)>(all)...); });
  }

  void CancelAll() override BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    cancelled_ = true;
    for (grpc::ClientContext* context : under_way_) context->TryCancel();
  }

 private:
  template <typename Request, typename Reply>
  struct Call {
    std::shared_ptr<GrpcControlConnection> connection;
    grpc::ClientContext context;
    Request request;
    Reply reply;
    Done<Reply> done;
  };

  template <typename Request, typename Reply, typename Method>
  void Start(const Request& request, Timeout timeout, Done<Reply> done, Method method)
      BULLA_EXCLUDES(mutex_) {
    auto call = std::make_shared<Call<Request, Reply>>();
    call->connection = shared_from_this();
    call->request = request;
    call->done = std::move(done);
    call->context.set_deadline(RealClock().WallNow() + timeout);
    if (!Register(&call->context)) return call->done(absl::CancelledError("disconnected"));
    method(stub_->async(), &call->context, &call->request, &call->reply,
           [call](const grpc::Status& status) {
             call->connection->Unregister(&call->context);
             if (!status.ok()) return call->done(FromGrpc(status));
             call->done(std::move(call->reply));
           });
  }
  bool Register(grpc::ClientContext* context) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (!cancelled_) under_way_.insert(context);
    return !cancelled_;
  }
  void Unregister(grpc::ClientContext* context) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    under_way_.erase(context);
  }

  const std::unique_ptr<wire::v1::Enclave::Stub> stub_;
  Mutex mutex_;
  bool cancelled_ BULLA_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<grpc::ClientContext*> under_way_ BULLA_GUARDED_BY(mutex_);
};

// A channel on one connection, which it owns.
absl::StatusOr<std::shared_ptr<grpc::Channel>> DialChannelBlocking(const Address& address) {
  BULLA_ASSIGN_OR_RETURN(UniqueFd fd, DialBlocking(address, kDialTimeout));
  grpc::ChannelArguments arguments;
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "enclave");
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 5000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 2000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Nothing to find out: both ends are on one machine, and a frame is smaller than any window.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return grpc::CreateCustomInsecureChannelFromFd("enclave", fd.Release(), arguments);
}

}  // namespace

GrpcTransport::GrpcTransport() { KeepGrpcCallbackThreads(); }

absl::StatusOr<std::shared_ptr<ControlConnection>> GrpcTransport::DialControlBlocking(
    const Address& address) {
  BULLA_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, DialChannelBlocking(address));
  return std::make_shared<GrpcControlConnection>(std::move(channel));
}

absl::StatusOr<std::unique_ptr<FrameConnection>> GrpcTransport::DialFramesBlocking(
    const Address& address) {
  BULLA_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, DialChannelBlocking(address));
  return std::make_unique<GrpcFrameConnection>(std::move(channel));
}

}  // namespace bulla
