#include "bench/load/load.h"

#include <algorithm>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "bench/transport/transport.h"

namespace bulla {
namespace {

constexpr Duration kReconnectEvery = std::chrono::milliseconds(100);
// After the end: as long as a caller would wait for an answer.
constexpr Duration kGrace = std::chrono::seconds(5);

Duration CpuOfThisProcess() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

std::unique_ptr<Transport> MakeTransport(const TransportPlan& plan, const Clock& clock,
                                         LoadBook& book) {
  if (plan.traffic.protocol == Protocol::kGrpc) return MakeGrpcTransport(plan, clock, book);
  if (plan.traffic.protocol == Protocol::kStream) return MakeStreamTransport(plan, clock, book);
  return MakeHttpTransport(plan, clock, book);
}

// Confined to one thread.
class Load {
 public:
  Load(const LoadPlan& plan, const Clock& clock, LoadBook& book, Transport& transport)
      : items_max_(HasBatches(plan.traffic.protocol) ? static_cast<std::size_t>(plan.traffic.batch)
                                                     : 1),
        clock_(clock),
        book_(book),
        transport_(transport) {
    items_.reserve(items_max_);
  }

  absl::Status RunBlocking();

 private:
  void SendDue();
  void TakeDue(MonotonicTime now);

  const std::size_t items_max_;
  const Clock& clock_;
  LoadBook& book_;
  Transport& transport_;
  std::vector<DueRequest> items_;
};

absl::Status Load::RunBlocking() {
  const MonotonicTime give_up_at = book_.end() + kGrace;
  MonotonicTime next_reconnect = clock_.Now() + kReconnectEvery;
  while (true) {
    SendDue();
    MonotonicTime now = clock_.Now();
    if ((book_.Ended(now) && book_.under_way() == 0) || now >= give_up_at) break;
    if (now >= book_.next_tick()) book_.Tick(now);
    if (now >= next_reconnect) {
      transport_.Reconnect();
      next_reconnect = now + kReconnectEvery;
    }
    MonotonicTime until = std::min({give_up_at, next_reconnect, book_.next_tick()});
    if (transport_.CanSend() && !book_.Ended(now)) until = std::min(until, book_.next_due());
    BULLA_RETURN_IF_ERROR(transport_.ReceiveBlocking(until));
  }
  transport_.GiveUp();
  return absl::OkStatus();
}

void Load::SendDue() {
  while (transport_.CanSend()) {
    TakeDue(clock_.Now());
    if (items_.empty()) return;
    book_.CountMessage();
    transport_.Send(items_);
  }
}

// What is due by now goes together, as far as a message holds it.
void Load::TakeDue(MonotonicTime now) {
  items_.clear();
  while (items_.size() < items_max_) {
    std::optional<DueRequest> request = book_.Take(now);
    if (!request) return;
    items_.push_back(*request);
  }
}

}  // namespace

absl::StatusOr<LoadResult> RunLoadBlocking(const LoadPlan& plan, const Target& target,
                                           const Clock& clock,
                                           const std::function<void(const LoadProgress&)>& report) {
  // The kernel may delay a sleeping thread by 50 us to save power; requests would be sent late.
  // The threads that are started from here on inherit it.
  ::prctl(PR_SET_TIMERSLACK, 1);
  LoadBook book(plan.schedule, report, plan.at_edge);
  TransportPlan transport_plan{.target = target,
                               .traffic = plan.traffic,
                               .keys = plan.keys,
                               .seed = plan.seed,
                               .paced = plan.schedule.rate_per_s > 0};
  std::unique_ptr<Transport> transport = MakeTransport(transport_plan, clock, book);
  BULLA_RETURN_IF_ERROR(transport->ConnectBlocking());
  Duration cpu_before = CpuOfThisProcess();
  book.Start(clock.Now());
  BULLA_RETURN_IF_ERROR(Load(plan, clock, book, *transport).RunBlocking());
  LoadResult result = book.Finish();
  result.cpu = CpuOfThisProcess() - cpu_before;
  return result;
}

}  // namespace bulla
