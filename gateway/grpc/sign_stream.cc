#include "gateway/grpc/sign_stream.h"

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "gateway/call/call_list.h"
#include "gateway/call/signer_service.h"
#include "gateway/frontend/call_rules.h"
#include "gateway/frontend/limits.h"
#include "gateway/frontend/metrics.h"

namespace bulla {
namespace {

struct StreamCall final : SignCall {
  std::uint64_t ref = 0;
  bool der = false;
  MonotonicTime read_at;
};

}  // namespace

// One SignStream. Reactions (OnReadDone, OnWriteDone, OnCancel, OnDone) come on gRPC's threads,
// Complete on the service's.
//
// There is at most one read and one write under way; what is finished meanwhile is gathered and
// leaves as one message when the write ends. The stream is read only while fewer than
// kStreamItemsUnansweredMax items wait for the caller to take their results.
//
// It ends when no more is to be read and everything that was read is answered, and deletes itself
// in OnDone. Complete gives up its calls only at its very end, so that nothing finishes under its
// feet.
class GrpcSignStream final
    : public grpc::ServerBidiReactor<v1::SignStreamRequest, v1::SignStreamResponse>,
      public CompletionSink {
 public:
  GrpcSignStream(GrpcShared& shared, GrpcStreamList& streams, grpc::CallbackServerContext& context)
      : shared_(shared),
        streams_(streams),
        context_(context),
        client_(shared.ClientOf(context)),
        request_id_(shared.TakeRequestId(context)),
        call_context_{.client = &client_, .request_id = request_id_},
        parse_latency_(shared.metrics.parse_latency()),
        total_latency_(shared.metrics.total_latency()) {
    Error error = shared.CheckMetadata(context);
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

  // CompletionSink.
  void Complete(SignCall* first) override {
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
      act.status = broken_ ? grpc::Status::CANCELLED : shared_.StatusOf(error_);
      shared_.metrics.Count(FrontendMethod::kStream, error_.code);
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
    MonotonicTime deadline = shared_.Deadline(context_, shared_.options.calls.sign_timeout.Get());
    unanswered_ += count;
    CallList calls;
    for (const v1::SignStreamItem& item : request_.items()) {
      StreamCall* call = TakeItem(item);
      if (call == nullptr) continue;
      call->read_at = now;
      call->deadline = deadline;
      calls.Append(call);
    }
    parse_latency_.Observe(shared_.clock.Now() - now);
    return calls.first();
  }

  // Nothing when the item is answered already, with an error.
  StreamCall* TakeItem(const v1::SignStreamItem& item) BULLA_REQUIRES(mutex_) {
    KeyId key_id;
    Digest32 digest;
    Error error = CheckUnknownFields(item);
    if (error.ok()) error = ParseKeyId(item.key_id(), key_id);
    if (error.ok()) error = ParseDigestBytes(item.digest(), digest);
    if (!error.ok()) {
      AddError(item.ref(), error);
      return nullptr;
    }
    if (free_calls_.empty()) free_calls_.push_back(&calls_.emplace_back());
    StreamCall* call = free_calls_.back();
    free_calls_.pop_back();
    call->sink = this;
    call->context = &call_context_;
    call->ref = item.ref();
    call->key_id = key_id;
    call->digest = digest;
    call->der = item.der();
    call->no_wait = item.no_wait();
    call->error = ErrorCode::kOk;
    ++with_service_;
    return call;
  }

  void AddResult(const StreamCall& call, MonotonicTime now) BULLA_REQUIRES(mutex_) {
    if (call.error != ErrorCode::kOk) return AddError(call.ref, {call.error, {}});
    v1::SignStreamResult& result = *gathered_.add_results();
    result.set_ref(call.ref);
    FillSignature(call.signature, call.der, *result.mutable_ok());
    shared_.metrics.Count(FrontendMethod::kStreamItem, ErrorCode::kOk);
    total_latency_.Observe(now - call.read_at);
  }

  void AddError(std::uint64_t ref, const Error& error) BULLA_REQUIRES(mutex_) {
    v1::SignStreamResult& result = *gathered_.add_results();
    result.set_ref(ref);
    result.mutable_error()->set_code(std::string(ErrorRowOf(error.code).name));
    result.mutable_error()->set_message(std::string(error.Message()));
    result.mutable_error()->set_retry_after_ms(
        RetryAfterMs(error, shared_.options.calls.retry_hint(), jitter_++ * 37));
    shared_.metrics.Count(FrontendMethod::kStreamItem, error.code);
  }

  GrpcShared& shared_;
  GrpcStreamList& streams_;
  grpc::CallbackServerContext& context_;
  const Client client_;
  const std::string request_id_;
  const CallContext call_context_;

  // Owned by the read, or the write, that is under way.
  v1::SignStreamRequest request_;
  v1::SignStreamResponse outgoing_;

  Mutex mutex_;
  v1::SignStreamResponse gathered_ BULLA_GUARDED_BY(mutex_);  // results for the next message
  std::deque<StreamCall> calls_ BULLA_GUARDED_BY(mutex_);     // all there are; they never move
  std::vector<StreamCall*> free_calls_ BULLA_GUARDED_BY(mutex_);
  std::size_t unanswered_ BULLA_GUARDED_BY(mutex_) = 0;    // items read, results not yet taken
  std::size_t with_service_ BULLA_GUARDED_BY(mutex_) = 0;  // calls that Complete will bring back
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

bool GrpcStreamList::Add(GrpcSignStream* stream) {
  MutexLock lock(mutex_);
  streams_.insert(stream);
  return !draining_;
}

void GrpcStreamList::Remove(GrpcSignStream* stream) {
  MutexLock lock(mutex_);
  streams_.erase(stream);
}

void GrpcStreamList::BeginDrain() {
  MutexLock lock(mutex_);
  draining_ = true;
  for (GrpcSignStream* stream : streams_) stream->BeginDrain();
}

grpc::ServerBidiReactor<v1::SignStreamRequest, v1::SignStreamResponse>* ServeSignStream(
    GrpcShared& shared, GrpcStreamList& streams, grpc::CallbackServerContext& context) {
  return new GrpcSignStream(shared, streams, context);  // deletes itself in OnDone
}

}  // namespace bulla
