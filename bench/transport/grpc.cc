// Signer.Sign: one call at a time on each channel, each channel with a socket of its own.

#include <deque>

#include "bench/transport/grpc_support.h"
#include "bench/transport/transport.h"
#include "bulla/v1/signer.grpc.pb.h"

namespace bulla {
namespace {

// One channel, and the call that is under way on it.
struct Caller {
  std::unique_ptr<v1::Signer::Stub> stub;
  std::optional<grpc::ClientContext> context;  // of a call; made anew for each
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::SignResponse>> call;
  v1::SignRequest request;
  v1::SignResponse response;
  grpc::Status status;
  DueRequest item;
  bool busy = false;
};

// Confined to one thread.
class GrpcTransport final : public Transport {
 public:
  GrpcTransport(const TransportPlan& plan, const Clock& clock, LoadBook& book)
      : plan_(plan), clock_(clock), book_(book), completions_(plan.paced) {}
  ~GrpcTransport() override { GiveUp(); }

  absl::Status ConnectBlocking() override;
  bool CanSend() override { return !idle_.empty(); }
  void Send(std::span<const DueRequest> items) override;
  absl::Status ReceiveBlocking(MonotonicTime until) override;
  void Reconnect() override {}  // the channels do it
  void GiveUp() override;

 private:
  void OnAnswer(Caller& caller, MonotonicTime now);

  const TransportPlan plan_;
  const Clock& clock_;
  LoadBook& book_;
  std::vector<std::unique_ptr<Caller>> callers_;
  std::deque<Caller*> idle_;  // first in, first out
  Completions completions_;   // last: it goes before what its operations write to
};

absl::Status GrpcTransport::ConnectBlocking() {
  for (int i = 0; i < plan_.traffic.connections; ++i) {
    Caller& caller = *callers_.emplace_back(std::make_unique<Caller>());
    BULLA_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel,
                           OpenChannelBlocking(plan_.target));
    caller.stub = v1::Signer::NewStub(channel);
    idle_.push_back(&caller);
  }
  return absl::OkStatus();
}

void GrpcTransport::Send(std::span<const DueRequest> items) {
  Caller& caller = *idle_.front();
  idle_.pop_front();
  caller.item = items.front();
  caller.busy = true;
  Digest32 digest = DigestOf(plan_.seed, caller.item.index);
  caller.request.set_key_id(plan_.keys[KeyOf(caller.item.index, plan_.keys.size())].id);
  caller.request.set_digest(digest.data(), digest.size());
  caller.call.reset();  // lies in the memory of the call, which the context holds
  caller.context.emplace();
  caller.call = caller.stub->AsyncSign(&*caller.context, caller.request, &completions_.queue());
  caller.call->Finish(&caller.response, &caller.status, &caller);
}

absl::Status GrpcTransport::ReceiveBlocking(MonotonicTime until) {
  const std::vector<Completion>& completions = completions_.TakeBlocking(until, clock_);
  MonotonicTime now = clock_.Now();
  for (const Completion& completion : completions) {
    OnAnswer(*static_cast<Caller*>(completion.tag), now);
  }
  return absl::OkStatus();
}

void GrpcTransport::OnAnswer(Caller& caller, MonotonicTime now) {
  const grpc::Status& status = caller.status;
  const std::string& message = status.error_message();
  if (!status.ok() && status.error_details().empty()) {
    // The service explains its errors; this one is of the connection.
    book_.Dropped(caller.item, "a connection was lost: " + message);
  } else if (!status.ok()) {
    book_.Failed(caller.item, std::string_view(message).substr(0, message.find(':')), message, now);
  } else if (std::optional<RecoverableSignature> signature = SignatureOf(caller.response)) {
    book_.Answered(caller.item, *signature, now);
  } else {
    book_.Malformed(caller.item, "a response without a signature");
  }
  caller.busy = false;
  idle_.push_back(&caller);
}

void GrpcTransport::GiveUp() {
  std::size_t busy = 0;
  for (const std::unique_ptr<Caller>& caller : callers_) {
    if (!caller->busy) continue;
    caller->context->TryCancel();
    ++busy;
  }
  // A call that is cancelled ends at once, and without details.
  MonotonicTime now = clock_.Now();
  while (busy > 0) {
    for (const Completion& completion :
         completions_.TakeBlocking(clock_.Now() + std::chrono::seconds(1), clock_)) {
      OnAnswer(*static_cast<Caller*>(completion.tag), now);
      --busy;
    }
  }
}

}  // namespace

std::unique_ptr<Transport> MakeGrpcTransport(const TransportPlan& plan, const Clock& clock,
                                             LoadBook& book) {
  return std::make_unique<GrpcTransport>(plan, clock, book);
}

}  // namespace bulla
