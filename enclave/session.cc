#include "enclave/session.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"

namespace bulla {
namespace {

// Items that one stream may have in work; a gateway's stream has fewer slots than that, so only a
// peer that breaks the rules meets it.
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
// they send is dropped. Thread-safe, but for Flush().
class SessionOutbox final : public ReplySink, public std::enable_shared_from_this<SessionOutbox> {
 public:
  SessionOutbox(http2::GrpcServer& server, http2::StreamId stream, EnclaveCounters& counters)
      : later_(server.later()), stream_(stream), counters_(counters) {}

  void Send(ReplyBatch& replies) override BULLA_EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      in_flight_ -= std::min(in_flight_, replies.signs.size() + replies.creates.size());
      if (ended_) return;
      pending_.Append(replies);
      if (std::exchange(flush_posted_, true)) return;
    }
    later_([self = shared_from_this()](http2::GrpcServer& server) { self->Flush(server); });
  }

  // Counts a frame in. False when it would be over the bound.
  bool Admit(std::size_t items) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (in_flight_ + items > kSessionInFlightMax) return false;
    in_flight_ += items;
    return true;
  }

  // Nobody reads replies any more.
  void End() BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    ended_ = true;
    pending_.clear();
  }

 private:
  // On the loop's thread.
  void Flush(http2::GrpcServer& server) BULLA_EXCLUDES(mutex_) {
    while (TakeFrame()) {
      EncodeReply(sending_, frame_);
      counters_.Increment("frames_out");
      bytes_.clear();
      frame_.AppendToString(&bytes_);
      server.Send(stream_, AsBytes(bytes_));
    }
  }
  // False when nothing is pending; then the next Send() wakes the loop again.
  bool TakeFrame() BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (pending_.empty()) {
      flush_posted_ = false;
      return false;
    }
    MoveFront(pending_.signs, kFrameSignsMax, sending_.signs);
    MoveFront(pending_.creates, kFrameCreatesMax, sending_.creates);
    return true;
  }

  const http2::GrpcServer::Later later_;
  const http2::StreamId stream_;
  EnclaveCounters& counters_;
  Mutex mutex_;
  ReplyBatch pending_ BULLA_GUARDED_BY(mutex_);
  std::size_t in_flight_ BULLA_GUARDED_BY(mutex_) = 0;
  bool flush_posted_ BULLA_GUARDED_BY(mutex_) = false;
  bool ended_ BULLA_GUARDED_BY(mutex_) = false;
  // The loop's.
  ReplyBatch sending_;
  wire::v1::ReplyFrame frame_;
  std::string bytes_;
};

Session::Session(Workers& workers, EnclaveCounters& counters, const Clock& clock,
                 http2::GrpcServer& server, http2::StreamId stream)
    : workers_(workers),
      counters_(counters),
      clock_(clock),
      server_(server),
      stream_(stream),
      outbox_(std::make_shared<SessionOutbox>(server, stream, counters)) {}

Session::~Session() { outbox_->End(); }

void Session::OnMessage(ByteSpan message) {
  const absl::Status decoded =
      incoming_.ParseFromArray(message.data(), static_cast<int>(message.size()))
          ? DecodeRequest(incoming_, batch_)
          : absl::InvalidArgumentError("request frame: is no protobuf");
  if (!decoded.ok()) {
    LogError("request_frame_refused", {{"reason", std::string(decoded.message())}});
    return server_.Finish(stream_,
                          {absl::StatusCode::kInvalidArgument, std::string(decoded.message()), ""});
  }
  if (!outbox_->Admit(batch_.signs.size() + batch_.creates.size())) {
    return server_.Finish(
        stream_, {absl::StatusCode::kResourceExhausted, "too many requests in flight", ""});
  }
  counters_.Increment("frames_in");
  if (!batch_.signs.empty()) {
    counters_.histogram("batch_size").Record(static_cast<double>(batch_.signs.size()));
  }
  workers_.Submit(batch_, clock_.Now(), outbox_);
}

void Session::OnHalfClose() { server_.Finish(stream_, {}); }

}  // namespace bulla
