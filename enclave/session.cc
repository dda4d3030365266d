#include "enclave/session.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "base/mutex.h"

namespace bulla {
namespace {

// Items that one stream may have in work; a gateway's stream has fewer slots than that, so only a
// peer that breaks the rules meets it. Bounds the outbox too.
constexpr std::size_t kSessionInFlightMax = 2048;

// Moves at most `max` elements from the front of `from` to `to`.
template <typename T>
void MoveFront(std::vector<T>& from, std::size_t max, std::vector<T>& to) {
  auto end = from.begin() + static_cast<std::ptrdiff_t>(std::min(max, from.size()));
  to.assign(std::make_move_iterator(from.begin()), std::make_move_iterator(end));
  from.erase(from.begin(), end);
}

}  // namespace

// The way out of a session. Workers hold it while they work and may outlive the stream; then what
// they send is dropped. Thread-safe.
class SessionOutbox final : public ReplySink {
 public:
  SessionOutbox(Session& session, EnclaveCounters& counters)
      : session_(session), counters_(counters) {}

  void Send(ReplyBatch& replies) override BULLA_EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      in_flight_ -= std::min(in_flight_, replies.signs.size() + replies.creates.size());
      if (ended_) return;
      pending_.Append(replies);
      if (!BeginWrite()) return;
    }
    Write();
  }

  // Counts a frame in. False when it would be over the bound.
  bool Admit(std::size_t items) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (in_flight_ + items > kSessionInFlightMax) return false;
    in_flight_ += items;
    return true;
  }

  void OnWriteDone(bool ok) BULLA_EXCLUDES(mutex_) {
    bool finish = false;
    {
      MutexLock lock(mutex_);
      writing_ = false;
      if (!ok) ended_ = true;
      finish = ended_;
      if (!finish && !BeginWrite()) return;
    }
    if (finish) {
      session_.Finish(grpc::Status::OK);
    } else {
      Write();
    }
  }

  // No more frames will come: nobody reads the replies.
  void End(const grpc::Status& status) BULLA_EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      if (std::exchange(ended_, true)) return;
      if (writing_) return;  // OnWriteDone finishes
    }
    session_.Finish(status);
  }

 private:
  // Takes what is pending for the next frame; false when there is nothing, or a write is under way.
  bool BeginWrite() BULLA_REQUIRES(mutex_) {
    if (writing_ || pending_.empty()) return false;
    MoveFront(pending_.signs, kFrameSignsMax, sending_.signs);
    MoveFront(pending_.creates, kFrameCreatesMax, sending_.creates);
    writing_ = true;
    return true;
  }

  // Requires: BeginWrite() said so. While writing_ is set the session cannot finish, hence cannot
  // be deleted, and frame and batch belong to this call alone.
  void Write() {
    EncodeReply(sending_, frame_);
    counters_.Increment("frames_out");
    session_.StartWrite(&frame_);
  }

  Session& session_;  // valid until ended_ and not writing_
  EnclaveCounters& counters_;
  Mutex mutex_;
  ReplyBatch pending_ BULLA_GUARDED_BY(mutex_);
  std::size_t in_flight_ BULLA_GUARDED_BY(mutex_) = 0;
  bool writing_ BULLA_GUARDED_BY(mutex_) = false;
  bool ended_ BULLA_GUARDED_BY(mutex_) = false;
  // Owned by whoever set writing_.
  ReplyBatch sending_;
  wire::v1::ReplyFrame frame_;
};

Session::Session(Workers& workers, EnclaveCounters& counters, const Clock& clock)
    : workers_(workers),
      counters_(counters),
      clock_(clock),
      outbox_(std::make_shared<SessionOutbox>(*this, counters)) {
  StartRead(&incoming_);
}

void Session::OnReadDone(bool ok) {
  if (!ok) return outbox_->End(grpc::Status::OK);
  absl::Status decoded = DecodeRequest(incoming_, batch_);
  if (!decoded.ok()) {
    LogError("request_frame_refused", {{"reason", std::string(decoded.message())}});
    return outbox_->End({grpc::StatusCode::INVALID_ARGUMENT, std::string(decoded.message())});
  }
  if (!outbox_->Admit(batch_.signs.size() + batch_.creates.size())) {
    return outbox_->End({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many requests in flight"});
  }
  counters_.Increment("frames_in");
  if (!batch_.signs.empty()) {
    counters_.histogram("batch_size").Record(static_cast<double>(batch_.signs.size()));
  }
  workers_.Submit(batch_, clock_.Now(), outbox_);
  StartRead(&incoming_);
}

void Session::OnWriteDone(bool ok) { outbox_->OnWriteDone(ok); }

void Session::OnDone() { delete this; }

}  // namespace bulla
