#pragma once

// Who is let in: a bound on the signatures under way, shared by all front ends and fairly among
// their callers. What cannot be answered in good time is refused at the door, before anything is
// done for it, so that what is let in is answered.
//
// The bound is what the enclaves take now (the sum of gateway/link/concurrency_limit). While no
// more than half of it is used everybody is let in. Above that a client gets no more than its
// share, the bound divided by the clients that have asked lately: one alone may use all of it, and
// a second one gets its half at once, whatever the first has under way. Half of the bound is enough
// to keep the enclaves busy, so nothing is lost when clients do not use their shares.
//
// A new key counts as the signatures that it costs the enclave, and a look-up as one, so they have
// their part in all that. Creates are held tighter: they take no more than a quarter of the bound,
// and give way to signatures. While those keep taking longer than kSignLatencyAside, fewer and
// fewer creates are let in, down to kCreatesMin; they become more again when the signatures are
// quick. So creates use what signatures leave, and however many are asked for, they put off a
// signature by the work of a few.
//
// To admit and to release is a few atomics. gateway/access/admission_filter puts it in the chain.

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/hot.h"
#include "base/metrics.h"
#include "gateway/call/clients.h"

namespace bulla {

namespace limits {
// Signatures asked for and not yet answered, over HTTP and gRPC together. At 30 us each on one core
// this is two seconds of work: more than any deadline allows, so more would only be refused later.
// What the enclaves take is less and is found out: gateway/link/concurrency_limit.
inline constexpr std::size_t kCallsInFlightMax = 64 * 1024;
}  // namespace limits

// Thread-safe, except that Tick is for one thread.
class Admission {
 public:
  // Hot.
  struct Settings {
    Hot<std::size_t> in_flight_max{limits::kCallsInFlightMax};  // whatever the enclaves would take
  };

  // The room that a create or a look-up takes, until it is given back or goes. The
  // admission outlives it. Movable; for one thread at a time.
  class Pass {
   public:
    Pass(Pass&& other) noexcept
        : admission_(other.admission_),
          client_(std::move(other.client_)),
          cost_(std::exchange(other.cost_, 0)),
          is_create_(other.is_create_) {}
    Pass& operator=(Pass&& other) = delete;
    ~Pass() { Return(); }
    void Return();  // idempotent

   private:
    friend class Admission;
    Pass(Admission& admission, Client client, std::size_t cost, bool is_create)
        : admission_(admission), client_(std::move(client)), cost_(cost), is_create_(is_create) {}
    Admission& admission_;
    Client client_;
    std::size_t cost_;
    bool is_create_;
  };

  // A new key in signatures: its secret is drawn, multiplied into a point and sealed, then opened,
  // signed with and verified once more before it is acknowledged.
  static constexpr std::size_t kCreateCost = 8;
  static constexpr std::size_t kLookUpCost = 1;  // the store's work, not the enclave's
  // Creates under way at a time. A burst of them stands before a signature with all its work, 130
  // us each with the new key's check: 2 ms on two workers. Six thousand a second when each takes 5
  // ms with its fsync.
  static constexpr std::size_t kCreatesMax = 32;
  static constexpr std::size_t kCreatesMin = 4;  // however slow signatures are: some keys are made
  // On average, where creates begin to give way: several times what a signature takes with nothing
  // before it, a tenth of what is promised for the slowest of a hundred.
  static constexpr Duration kSignLatencyAside = std::chrono::milliseconds(1);
  // So many ticks in a row: one signature is slow for many reasons, the first one under a data key
  // before all, and that is no queue.
  static constexpr int kSlowTicksAside = 3;

  // `settings`, `clients` and `metrics` must outlive it.
  Admission(const Settings& settings, Clients& clients, Metrics& metrics);

  // How many of `asked` signatures, to be answered within `time_left`, are let in; the rest is to
  // be refused with kRetryLater. Those let in are to be released.
  std::size_t Admit(const Client& client, std::size_t asked, Duration time_left);
  void Release(const Client& client, std::size_t count);
  // One create, to be answered within `time_left`, or one look-up. Nothing: to be refused with
  // kRetryLater.
  std::optional<Pass> AdmitCreate(const Client& client, Duration time_left);
  std::optional<Pass> AdmitLookUp(const Client& client);
  // A signature was answered, `latency` after it was let in. One of each list is enough.
  void OnAnswered(Duration latency);

  // What the enclaves take, all together.
  struct Enclaves {
    std::size_t in_flight_max = 0;  // 0: none is there, and calls are for the router to refuse
    std::uint64_t refused = 0;      // since the start, over their limits
  };
  // To be called often: does its work every kTick.
  static constexpr Duration kTick = std::chrono::milliseconds(20);
  void Tick(MonotonicTime now, const Enclaves& enclaves);

  std::size_t in_flight() const { return in_flight_.load(std::memory_order_relaxed); }

 private:
  // Each count that decides is alone on its cache line: they are what I/O threads share.
  static constexpr std::size_t kCacheLine = 64;

  void NoteActive(ClientAccount& account);
  // Takes room for all of `cost` or for none of it.
  bool AdmitWhole(const Client& client, std::size_t cost, Duration time_left);
  void AdjustCreates(Duration mean_latency);
  std::size_t Refuse(ClientAccount& account, std::size_t over, prometheus::Counter& reason);

  const Settings& settings_;
  Clients& clients_;

  alignas(kCacheLine) std::atomic<std::size_t> in_flight_{0};
  alignas(kCacheLine) std::atomic<std::size_t> limit_;
  std::atomic<std::uint32_t> epoch_{1};
  std::atomic<std::size_t> clients_this_epoch_{0};
  std::atomic<std::size_t> clients_last_epoch_{0};
  std::atomic<Duration::rep> usual_latency_{0};
  alignas(kCacheLine) std::atomic<std::size_t> creates_{0};  // under way
  std::atomic<std::size_t> creates_max_{kCreatesMax};
  alignas(kCacheLine) std::atomic<Duration::rep> latency_sum_{0};  // since the last tick
  std::atomic<std::int64_t> latency_count_{0};

  // Of the ticking thread.
  MonotonicTime next_tick_;
  MonotonicTime epoch_end_;
  int slow_ticks_ = 0;  // in a row
  std::uint64_t refused_by_enclaves_ = 0;

  prometheus::Gauge& in_flight_gauge_;
  prometheus::Gauge& limit_gauge_;
  prometheus::Counter& refused_limit_;
  prometheus::Counter& refused_fairness_;
  prometheus::Counter& refused_deadline_;
  prometheus::Counter& refused_enclave_limit_;
  prometheus::Counter& refused_creates_;
  prometheus::Gauge& creates_max_gauge_;
  prometheus::Gauge& clients_gauge_;
};

}  // namespace bulla
