#include "gateway/grpc/sign_stream.h"

#include <string>
#include <utility>

#include "gateway/frontend/call_rules.h"
#include "gateway/frontend/limits.h"
#include "gateway/frontend/metrics.h"

namespace bulla {

// What the connection has of the stream, for as long as the call is there.
class GrpcSignStream::Handler final : public http2::GrpcHandler {
 public:
  explicit Handler(std::shared_ptr<GrpcSignStream> stream) : stream_(std::move(stream)) {}
  ~Handler() override { stream_->OnGone(); }

  void OnMessage(ByteSpan message) override { stream_->OnMessage(message); }
  void OnHalfClose() override { stream_->OnHalfClose(); }
  void OnWritten() override { stream_->OnWritten(); }
  bool WantsMessage() const override { return stream_->WantsMessage(); }

 private:
  const std::shared_ptr<GrpcSignStream> stream_;
};

std::unique_ptr<http2::GrpcHandler> GrpcSignStream::Begin(http2::GrpcServer& server,
                                                          const http2::GrpcRequest& request) {
  GrpcConnection& connection = GrpcConnection::From(server);
  auto stream = std::make_shared<GrpcSignStream>(connection, request);
  Error error = stream->head_.error();
  if (error.ok() && connection.worker().draining()) error.code = ErrorCode::kUnavailable;
  if (!error.ok()) {
    connection.Finish(request.stream, FrontendMethod::kStream, error);
    return nullptr;
  }
  connection.worker().Add(*stream);
  return std::make_unique<Handler>(std::move(stream));
}

GrpcSignStream::GrpcSignStream(GrpcConnection& connection, const http2::GrpcRequest& request)
    : worker_(connection.worker()), connection_(connection), head_(connection, request) {}

// ---- What the caller does ----------------------------------------------------------------------

bool GrpcSignStream::WantsMessage() const {
  return reading_over_ || unanswered_ < limits::kStreamItemsUnansweredMax;
}

void GrpcSignStream::OnMessage(ByteSpan bytes) {
  if (reading_over_) return;
  Error error = ParseMessage(bytes, request_);
  const auto count = static_cast<std::size_t>(request_.items_size());
  if (error.ok() && count == 0) error = BatchEmpty();
  if (error.ok() && count > limits::kBatchItemsMax) error = BatchTooLong();
  if (!error.ok()) {
    EndReading(std::move(error));
    return Step();
  }
  const MonotonicTime now = worker_.Now();
  const MonotonicTime deadline =
      head_.Deadline(now, worker_.shared().options.calls.sign_timeout.Get());
  unanswered_ += count;
  for (const v1::SignStreamItem& item : request_.items()) TakeItem(item, now, deadline);
  worker_.parse_latency().Observe(worker_.Now() - now);
  Step();
}

void GrpcSignStream::OnHalfClose() {
  reading_over_ = true;
  Step();
}

void GrpcSignStream::OnWritten() {
  const std::shared_ptr<GrpcSignStream> self = shared_from_this();
  unanswered_ -= std::exchange(writing_, 0);
  Step();
  if (!gone_ && WantsMessage()) connection_.Resume(head_.stream());
}

void GrpcSignStream::OnGone() {
  worker_.Remove(static_cast<GrpcStandingCall&>(*this));
  if (std::exchange(gone_, true)) return;
  worker_.shared().metrics.Count(FrontendMethod::kStream, error_.code);
}

void GrpcSignStream::OnDrain() {
  if (!reading_over_) EndReading({ErrorCode::kUnavailable, "this gateway is shutting down"});
  Step();
}

void GrpcSignStream::EndReading(Error error) {
  reading_over_ = true;
  error_ = std::move(error);
}

// ---- Items and their results -------------------------------------------------------------------

void GrpcSignStream::TakeItem(const v1::SignStreamItem& item, MonotonicTime now,
                              MonotonicTime deadline) {
  KeyId key_id;
  Digest32 digest;
  Error error = CheckUnknownFields(item);
  if (error.ok()) error = ParseKeyId(item.key_id(), key_id);
  if (error.ok()) error = ParseDigestBytes(item.digest(), digest);
  if (!error.ok()) return AddError(item.ref(), error);
  if (free_calls_.empty()) free_calls_.push_back(&calls_.emplace_back());
  GrpcSignCall& call = *free_calls_.back();
  free_calls_.pop_back();
  call.signer = this;
  call.context = &head_.context();
  call.ref = item.ref();
  call.key_id = key_id;
  call.digest = digest;
  call.der = item.der();
  call.no_wait = item.no_wait();
  call.error = ErrorCode::kOk;
  call.read_at = now;
  call.deadline = deadline;
  if (with_service_++ == 0) {
    self_ = shared_from_this();
    connection_.CallOut();
  }
  worker_.Submit(&call);
}

void GrpcSignStream::OnCallDone(GrpcSignCall& call) {
  if (!gone_) {
    AddResult(call);
    if (!std::exchange(flush_due_, true)) worker_.FlushLater(shared_from_this());
  }
  free_calls_.push_back(&call);
  if (--with_service_ > 0) return;
  const std::shared_ptr<GrpcSignStream> self = std::move(self_);
  connection_.CallBack();  // its last touch, if the call is no more
}

void GrpcSignStream::AddResult(const GrpcSignCall& call) {
  if (call.error != ErrorCode::kOk) return AddError(call.ref, {call.error, {}});
  v1::SignStreamResult& result = *gathered_.add_results();
  result.set_ref(call.ref);
  FillSignature(call.signature, call.der, *result.mutable_ok());
  worker_.shared().metrics.Count(FrontendMethod::kStreamItem, ErrorCode::kOk);
  worker_.total_latency().Observe(worker_.Now() - call.read_at);
}

void GrpcSignStream::AddError(std::uint64_t ref, const Error& error) {
  v1::SignStreamResult& result = *gathered_.add_results();
  result.set_ref(ref);
  result.mutable_error()->set_code(std::string(ErrorRowOf(error.code).name));
  result.mutable_error()->set_message(std::string(error.Message()));
  result.mutable_error()->set_retry_after_ms(
      RetryAfterMs(error, worker_.shared().options.calls.retry_hint(), worker_.NextJitter() >> 33));
  worker_.shared().metrics.Count(FrontendMethod::kStreamItem, error.code);
}

// Writes what is finished, unless a message is on its way; ends the call when all is answered.
void GrpcSignStream::Step() {
  flush_due_ = false;
  if (gone_) return;
  if (writing_ == 0 && gathered_.results_size() > 0) {
    writing_ = static_cast<std::size_t>(gathered_.results_size());
    connection_.Send(head_.stream(), gathered_);
    gathered_.Clear();
  }
  if (!reading_over_ || writing_ > 0 || with_service_ > 0) return;
  gone_ = true;
  const std::shared_ptr<GrpcSignStream> self = shared_from_this();
  connection_.Finish(head_.stream(), FrontendMethod::kStream, error_);
}

}  // namespace bulla
