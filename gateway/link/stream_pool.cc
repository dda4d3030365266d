#include "gateway/link/stream_pool.h"

#include <algorithm>
#include <utility>

#include "gateway/call/call_list.h"

namespace bulla {
namespace {

// From a lock that is free to a thread that lost its turn.
const std::vector<double>& AcquireBucketsMs() {
  static const std::vector<double> kBuckets = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
                                               0.1,   0.2,   0.5,   1,    5,    20};
  return kBuckets;
}

SignBatcher::Options BatchOptions(const LinkSettings& settings) {
  return {.size_max = settings.batch_size_max.Get(), .wait_max = settings.batch_wait_max.Get()};
}

ConcurrencyLimit::Options LimitOptions(const LinkSettings& settings) {
  return {.max = settings.streams_max.Get() * EnclaveStream::kSlotsMax,
          .wait_max = settings.queue_wait_max.Get()};
}

}  // namespace

PoolMetrics::PoolMetrics(Metrics& metrics)
    : acquire_latency(metrics.AddHistogram(
          "pool_acquire_latency_ms",
          "Time to find the stream that a frame leaves on and to hand it over, in ms",
          AcquireBucketsMs())),
      exhausted(metrics.AddCounter("pool_exhausted_total",
                                   "Signatures refused because every stream was full")) {}

StreamPool::StreamPool(const LinkSettings& settings, EnclaveLink& link, LinkEvents& events,
                       std::function<void()> on_missing, PoolMetrics& metrics, const Clock& clock)
    : settings_(settings),
      link_(link),
      events_(events),
      on_missing_(std::move(on_missing)),
      metrics_(metrics),
      clock_(clock),
      batcher_(BatchOptions(settings)),
      limit_(LimitOptions(settings)),
      streams_(std::make_shared<const Streams>()) {}

void StreamPool::TakeSettings() {
  batcher_.SetOptions(BatchOptions(settings_));
  limit_.SetOptions(LimitOptions(settings_));
}

std::size_t StreamPool::Wanted() const {
  const std::size_t min = settings_.streams_min.Get();
  return std::max(min, std::min(min + grown_, settings_.streams_max.Get()));
}

// ---- Signatures out --------------------------------------------------------------------------

void StreamPool::Sign(SignCall* first) {
  const MonotonicTime now = clock_.Now();
  const std::size_t asked = CountCalls(first);
  {
    MutexLock lock(batch_mutex_);
    TakeSettings();
    const std::size_t admitted = limit_.Admit(asked, batcher_.outstanding(), now);
    for (std::size_t i = 0; i < admitted; ++i) batcher_.Add(PopFirst(first), now);
    refused_over_limit_ += asked - admitted;
  }
  FailAll(first, ErrorCode::kRetryLater);
  const MonotonicTime due = SendDue(now);
  if (due != MonotonicTime::max()) events_.OnWaiting(due);
}

MonotonicTime StreamPool::SendDue(MonotonicTime now) {
  for (;;) {
    SignCall* frame = nullptr;
    {
      MutexLock lock(batch_mutex_);
      frame = batcher_.Take(now);
      if (frame == nullptr) return batcher_.waiting() ? batcher_.due_at() : MonotonicTime::max();
    }
    SendFrame(frame);
  }
}

void StreamPool::SendFrame(SignCall* first) {
  const MonotonicTime begin = clock_.Now();
  const std::shared_ptr<const Streams> open = streams();
  bool crowded = true;
  for (std::size_t in_flight_max : {kFrameSignsMax, EnclaveStream::kSlotsMax}) {
    for (const auto& stream : *open) {
      if (first == nullptr) break;
      if (stream->in_flight() < in_flight_max) first = stream->Sign(first);
    }
    if (first == nullptr) {
      crowded = in_flight_max != kFrameSignsMax;
      break;
    }
  }
  metrics_.acquire_latency.Observe(
      std::chrono::duration<double, std::milli>(clock_.Now() - begin).count());
  if (crowded) WantMore();
  if (first == nullptr) return;
  const std::size_t left = CountCalls(first);
  NoLongerInFlight(left);
  if (std::ranges::all_of(*open, [](const auto& stream) { return stream->closed(); })) {
    return events_.OnLost(link_, first);
  }
  metrics_.exhausted.Increment(static_cast<double>(left));
  FailAll(first, ErrorCode::kRetryLater);
}

SignCall* StreamPool::SignWithBlob(SignCall* first, const Bytes& blob) {
  const std::shared_ptr<const Streams> open = streams();
  const std::size_t before = CountCalls(first);
  const MonotonicTime now = clock_.Now();
  for (SignCall* call = first; call != nullptr; call = call->next) call->gathered_at = now;
  {
    MutexLock lock(batch_mutex_);
    batcher_.Sent(before);  // before they can be answered
  }
  std::size_t left = before;
  for (const auto& stream : *open) {
    first = stream->SignWithBlob(first, blob);
    left = CountCalls(first);
    if (left < before) break;
  }
  if (left > 0) NoLongerInFlight(left);
  return first;
}

// By the last of the streams, which the first signatures do not use.
bool StreamPool::Load(const Bytes& blob) {
  const std::shared_ptr<const Streams> open = streams();
  return std::any_of(open->rbegin(), open->rend(),
                     [&](const auto& stream) { return stream->Load(blob); });
}

bool StreamPool::Create(const KeyId& key_id, MonotonicTime deadline,
                        EnclaveStream::CreateDone& done) {
  const std::shared_ptr<const Streams> open = streams();
  return std::any_of(open->begin(), open->end(),
                     [&](const auto& stream) { return stream->Create(key_id, deadline, done); });
}

// ---- Signatures back -------------------------------------------------------------------------

void StreamPool::NoLongerInFlight(std::size_t count, MonotonicTime oldest) {
  const MonotonicTime now = clock_.Now();
  {
    MutexLock lock(batch_mutex_);
    batcher_.Answered(count);
    limit_.OnAnswered(count, oldest, batcher_.outstanding(), now);
    if (!batcher_.waiting()) return;
  }
  // What is left may be due sooner than it was.
  const MonotonicTime due = SendDue(now);
  if (due != MonotonicTime::max()) events_.OnWaiting(due);
}

void StreamPool::OnNeedBlob(SignCall* first) {
  needed_blob_.fetch_add(CountCalls(first), std::memory_order_relaxed);
  events_.OnNeedBlob(link_, first);
}

void StreamPool::OnAnswered(std::size_t count, MonotonicTime oldest) {
  answered_.fetch_add(count, std::memory_order_relaxed);
  NoLongerInFlight(count, oldest);
}

void StreamPool::OnLost(SignCall* first, std::size_t count) {
  unanswered_.fetch_add(count, std::memory_order_relaxed);
  NoLongerInFlight(count);
  events_.OnLost(link_, first);
}

void StreamPool::OnExpired(std::size_t count) {
  unanswered_.fetch_add(count, std::memory_order_relaxed);
  NoLongerInFlight(count);
}

void StreamPool::Expire(MonotonicTime now) {
  SignBatcher::Expired gathered;
  {
    MutexLock lock(batch_mutex_);
    gathered = batcher_.TakeExpired(now);
    if (gathered.count > 0) {
      limit_.OnAnswered(gathered.count, MonotonicTime::max(), batcher_.outstanding(), now);
    }
  }
  FailAll(gathered.first, ErrorCode::kUnavailable);
  const std::shared_ptr<const Streams> open = streams();  // held: one may close meanwhile
  for (const auto& stream : *open) stream->Expire(now);
}

std::size_t StreamPool::TakeBack(MonotonicTime since, std::size_t count_max) {
  const std::shared_ptr<const Streams> open = streams();
  std::size_t taken = 0;
  for (const auto& stream : *open) {
    if (taken < count_max) taken += stream->TakeBack(since, count_max - taken);
  }
  return taken;
}

// ---- The streams -----------------------------------------------------------------------------

std::size_t StreamPool::missing() const {
  MutexLock lock(mutex_);
  const std::size_t wanted = Wanted();
  return wanted - std::min(wanted, alive_);
}

void StreamPool::WantMore() {
  {
    MutexLock lock(mutex_);
    // One step at a time: those of the last one are still being opened.
    const std::size_t wanted = Wanted();
    if (closing_ || wanted > alive_ || wanted >= settings_.streams_max.Get()) return;
    grown_ = wanted - settings_.streams_min.Get() + kGrowth;
  }
  on_missing_();
}

void StreamPool::Open(std::unique_ptr<FrameConnection> connection) {
  {
    MutexLock lock(mutex_);
    ++alive_;
  }
  std::shared_ptr<EnclaveStream> stream =
      EnclaveStream::Open(std::move(connection), *this, clock_, settings_.batch_size_max);
  MutexLock lock(mutex_);
  auto streams = std::make_shared<Streams>();
  for (const auto& other : *streams_) {
    if (!other->closed()) streams->push_back(other);
  }
  streams->push_back(std::move(stream));
  streams_ = std::move(streams);
}

void StreamPool::OnStreamClosed() {
  // Told under the lock: after it, FinishClosing() may be true and the pool go.
  MutexLock lock(mutex_);
  --alive_;
  if (!closing_) resets_.fetch_add(1, std::memory_order_relaxed);
  on_missing_();
}

void StreamPool::Close() {
  std::shared_ptr<const Streams> closing;
  {
    MutexLock lock(mutex_);
    closing_ = true;
    closing = std::exchange(streams_, std::make_shared<const Streams>());
  }
  for (const auto& stream : *closing) stream->Close();
}

bool StreamPool::FinishClosing() {
  MutexLock lock(mutex_);
  if (alive_ > 0) return false;
  closing_ = false;
  grown_ = 0;
  return true;
}

void StreamPool::FailGathered() {
  SignCall* left = nullptr;
  {
    MutexLock lock(batch_mutex_);
    left = batcher_.TakeAll();
  }
  FailAll(left, ErrorCode::kUnavailable);
}

std::size_t StreamPool::in_flight() const {
  const std::shared_ptr<const Streams> open = streams();
  std::size_t sum = 0;
  for (const auto& stream : *open) sum += stream->in_flight();
  return sum;
}

std::size_t StreamPool::outstanding() const {
  MutexLock lock(batch_mutex_);
  return batcher_.outstanding();
}

std::size_t StreamPool::open() const {
  const std::shared_ptr<const Streams> open = streams();
  return static_cast<std::size_t>(
      std::ranges::count_if(*open, [](const auto& stream) { return !stream->closed(); }));
}

StreamPool::Outcomes StreamPool::outcomes() const {
  return {.answered = answered_.load(std::memory_order_relaxed),
          .unanswered = unanswered_.load(std::memory_order_relaxed),
          .needed_blob = needed_blob_.load(std::memory_order_relaxed)};
}

StreamPool::Admitted StreamPool::admitted() const {
  MutexLock lock(batch_mutex_);
  return {.in_flight_max = limit_.limit(), .refused = refused_over_limit_};
}

std::shared_ptr<const StreamPool::Streams> StreamPool::streams() const {
  MutexLock lock(mutex_);
  return streams_;
}

}  // namespace bulla
