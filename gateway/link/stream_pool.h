#pragma once

// The streams to one enclave, and what leaves over them. Signatures are gathered into frames
// (gateway/link/sign_batcher) and a frame goes to the first stream that has few in flight; so at
// low load all share one stream, and under load more join in. A stream that is lost takes nobody
// with it: what was in flight on it is given back, and the owner opens another.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "gateway/link/concurrency_limit.h"
#include "gateway/link/enclave_stream.h"
#include "gateway/link/link_events.h"
#include "gateway/link/link_settings.h"
#include "gateway/link/sign_batcher.h"

namespace bulla {

// Of all pools together.
struct PoolMetrics {
  explicit PoolMetrics(Metrics& metrics);
  prometheus::Histogram& acquire_latency;
  prometheus::Counter& exhausted;
};

// Thread-safe.
class StreamPool final {
 public:
  // Of signatures.
  struct Outcomes {
    std::uint64_t answered = 0;
    std::uint64_t unanswered = 0;
    std::uint64_t needed_blob = 0;  // of those answered
  };

  // What becomes of signatures is told to `events`, as of `link`. `on_missing` is called when
  // missing() is above 0, on any thread, and must not block.
  StreamPool(const LinkSettings& settings, EnclaveLink& link, LinkEvents& events,
             std::function<void()> on_missing, PoolMetrics& metrics, const Clock& clock);

  // Each call is answered: with kRetryLater what is over the concurrency limit, and when every
  // stream is full. Or it goes to OnLost.
  void Sign(SignCall* first) BULLA_EXCLUDES(mutex_, batch_mutex_);
  // Sends what has been held back long enough. Returns when the next is due; max() when nothing
  // waits.
  MonotonicTime SendDue(MonotonicTime now) BULLA_EXCLUDES(mutex_, batch_mutex_);
  // As EnclaveStream's.
  SignCall* SignWithBlob(SignCall* first, const Bytes& blob) BULLA_EXCLUDES(mutex_, batch_mutex_);
  bool Load(const Bytes& blob) BULLA_EXCLUDES(mutex_);
  bool Create(const KeyId& key_id, MonotonicTime deadline, EnclaveStream::CreateDone& done)
      BULLA_EXCLUDES(mutex_);

  // As EnclaveStream's, over what waits to be sent and all streams.
  void Expire(MonotonicTime now) BULLA_EXCLUDES(batch_mutex_);
  // As EnclaveStream's, over all streams.
  std::size_t TakeBack(MonotonicTime since, std::size_t count_max);

  // How many streams ought to be opened now: there are too few, or all of them are well filled.
  std::size_t missing() const BULLA_EXCLUDES(mutex_);
  // One more, on a connection that it owns from then on.
  void Open(std::unique_ptr<FrameConnection> connection) BULLA_EXCLUDES(mutex_);
  // Closes all. `on_missing` is called as each of them has ended.
  void Close() BULLA_EXCLUDES(mutex_);
  // After Close(): whether none of them will call back any more; then streams may be opened again.
  bool FinishClosing() BULLA_EXCLUDES(mutex_);
  // Answers what waits to be sent with kUnavailable.
  void FailGathered() BULLA_EXCLUDES(batch_mutex_);

  std::size_t in_flight() const BULLA_EXCLUDES(mutex_);
  // Signatures gathered or in flight.
  std::size_t outstanding() const BULLA_EXCLUDES(batch_mutex_);
  std::size_t open() const BULLA_EXCLUDES(mutex_);
  // Streams that were lost since the start, each counted once.
  std::uint64_t resets() const { return resets_.load(std::memory_order_relaxed); }
  // Since the start.
  Outcomes outcomes() const;
  struct Admitted {
    std::size_t in_flight_max = 0;  // now
    std::uint64_t refused = 0;      // signatures over it, since the start
  };
  Admitted admitted() const BULLA_EXCLUDES(batch_mutex_);

  // For its streams alone, which hold no lock. The first four as LinkEvents'.
  void OnNeedBlob(SignCall* first);
  void OnNeedDek(SignCall* first) { events_.OnNeedDek(link_, first); }
  void OnRehydrateTimeout(SignCall* first) { events_.OnRehydrateTimeout(link_, first); }
  void OnLost(SignCall* first, std::size_t count) BULLA_EXCLUDES(mutex_, batch_mutex_);
  // The enclave has answered `count` signatures: they were completed, or told to one of the above.
  // Of those that it did its work for, the oldest was gathered at `oldest`; max() when there are
  // none.
  void OnAnswered(std::size_t count, MonotonicTime oldest) BULLA_EXCLUDES(mutex_, batch_mutex_);
  // `count` signatures were given up at their deadline.
  void OnExpired(std::size_t count) BULLA_EXCLUDES(mutex_, batch_mutex_);
  // A stream is gone, and with it what was in flight: signatures went to OnLost, keys to be made
  // were answered with kUnavailable.
  void OnStreamClosed() BULLA_EXCLUDES(mutex_);

 private:
  using Streams = std::vector<std::shared_ptr<EnclaveStream>>;
  // Streams added at a time when all are well filled.
  static constexpr std::size_t kGrowth = 4;

  // Sends a frame's worth; refuses what finds no room, and gives back what finds no stream.
  void SendFrame(SignCall* first) BULLA_EXCLUDES(mutex_, batch_mutex_);
  void WantMore() BULLA_EXCLUDES(mutex_);
  // `oldest` as OnAnswered's.
  void NoLongerInFlight(std::size_t count, MonotonicTime oldest = MonotonicTime::max())
      BULLA_EXCLUDES(mutex_, batch_mutex_);
  std::shared_ptr<const Streams> streams() const BULLA_EXCLUDES(mutex_);

  // As the settings are now.
  void TakeSettings() BULLA_REQUIRES(batch_mutex_);
  // How many streams there are to be.
  std::size_t Wanted() const BULLA_REQUIRES(mutex_);

  const LinkSettings& settings_;
  EnclaveLink& link_;
  LinkEvents& events_;
  const std::function<void()> on_missing_;
  PoolMetrics& metrics_;
  const Clock& clock_;

  mutable Mutex batch_mutex_;
  SignBatcher batcher_ BULLA_GUARDED_BY(batch_mutex_);
  ConcurrencyLimit limit_ BULLA_GUARDED_BY(batch_mutex_);
  std::uint64_t refused_over_limit_ BULLA_GUARDED_BY(batch_mutex_) = 0;

  mutable Mutex mutex_;
  std::shared_ptr<const Streams> streams_ BULLA_GUARDED_BY(mutex_);
  std::size_t grown_ BULLA_GUARDED_BY(mutex_) = 0;  // beyond streams_min, when all were filled
  std::size_t alive_ BULLA_GUARDED_BY(mutex_) = 0;  // opened and not yet reported closed
  bool closing_ BULLA_GUARDED_BY(mutex_) = false;

  std::atomic<std::uint64_t> answered_{0};
  std::atomic<std::uint64_t> unanswered_{0};
  std::atomic<std::uint64_t> needed_blob_{0};
  std::atomic<std::uint64_t> resets_{0};
};

}  // namespace bulla
