#include "gateway/link/grpc_transport.h"

#include <chrono>
#include <grpcpp/create_channel_posix.h>
#include <string>
#include <utility>

#include "base/fd.h"
#include "base/log.h"
#include "wire/enclave.grpc.pb.h"

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

}  // namespace

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

std::unique_ptr<FrameConnection> MakeGrpcFrameConnection(std::shared_ptr<grpc::Channel> channel) {
  return std::make_unique<GrpcFrameConnection>(std::move(channel));
}

}  // namespace bulla
