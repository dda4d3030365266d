#include "gateway/access/admission.h"

#include <algorithm>
#include <string>
#include <utility>

namespace bulla {
namespace {

// A client counts as one that asks for this long, so that one that asks for one signature after
// the other keeps its share in between.
constexpr Duration kEpoch = std::chrono::seconds(1);

prometheus::Counter& Refused(Metrics& metrics, const std::string& reason) {
  return metrics.AddCounter("bulla_gateway_admission_refusals_total",
                            "Signatures refused with RETRY_LATER for overload, by reason; creates "
                            "and look-ups among them, as the signatures that they count for",
                            {{"reason", reason}});
}

}  // namespace

// ---- Letting in ------------------------------------------------------------------------------

Admission::Admission(const Settings& settings, Clients& clients, Metrics& metrics)
    : settings_(settings),
      clients_(clients),
      limit_(settings.in_flight_max.Get()),
      in_flight_gauge_(
          metrics.AddGauge("bulla_gateway_in_flight",
                           "Signatures let in and not yet answered, over all front ends")),
      limit_gauge_(metrics.AddGauge("bulla_gateway_in_flight_max",
                                    "How many there may be: what the enclaves take now")),
      refused_limit_(Refused(metrics, "limit")),
      refused_fairness_(Refused(metrics, "fairness")),
      refused_deadline_(Refused(metrics, "deadline")),
      refused_enclave_limit_(Refused(metrics, "enclave_limit")),
      refused_creates_(Refused(metrics, "creates")),
      creates_max_gauge_(metrics.AddGauge("bulla_gateway_creates_in_flight_max",
                                          "How many creates there may be under way now")),
      clients_gauge_(metrics.AddGauge("bulla_gateway_clients",
                                      "Clients that have asked lately, each with its share")) {}

void Admission::NoteActive(ClientAccount& account) {
  const std::uint32_t epoch = epoch_.load(std::memory_order_relaxed);
  if (account.epoch.load(std::memory_order_relaxed) == epoch) return;
  if (account.epoch.exchange(epoch, std::memory_order_relaxed) == epoch) return;
  clients_this_epoch_.fetch_add(1, std::memory_order_relaxed);
}

// The counts are raised before they are looked at: two that ask at once see each other, and
// together they never get more than there is, at worst less.
std::size_t Admission::Admit(const Client& client, std::size_t asked, Duration time_left) {
  ClientAccount& account = client.account();
  if (time_left.count() <= usual_latency_.load(std::memory_order_relaxed)) {
    refused_deadline_.Increment(static_cast<double>(asked));
    return 0;
  }
  NoteActive(account);
  const std::size_t clients =
      std::max({std::size_t{1}, clients_this_epoch_.load(std::memory_order_relaxed),
                clients_last_epoch_.load(std::memory_order_relaxed)});
  const std::size_t limit = limit_.load(std::memory_order_relaxed);
  const std::size_t share = std::max(std::size_t{1}, limit / clients);
  const std::size_t mine = account.in_flight.fetch_add(asked, std::memory_order_relaxed) + asked;
  const std::size_t all = in_flight_.fetch_add(asked, std::memory_order_relaxed) + asked;

  const auto over = [asked](std::size_t count, std::size_t max) {
    return std::min(asked, count - std::min(count, max));
  };
  if (const std::size_t excess = over(all, settings_.in_flight_max.Get()); excess > 0) {
    return asked - Refuse(account, excess, refused_limit_);
  }
  const std::size_t excess = std::min(over(all, limit / 2), over(mine, share));
  if (excess == 0) return asked;
  return asked - Refuse(account, excess, clients == 1 ? refused_limit_ : refused_fairness_);
}

std::size_t Admission::Refuse(ClientAccount& account, std::size_t over,
                              prometheus::Counter& reason) {
  account.in_flight.fetch_sub(over, std::memory_order_relaxed);
  in_flight_.fetch_sub(over, std::memory_order_relaxed);
  reason.Increment(static_cast<double>(over));
  return over;
}

void Admission::Release(const Client& client, std::size_t count) {
  client.account().in_flight.fetch_sub(count, std::memory_order_relaxed);
  in_flight_.fetch_sub(count, std::memory_order_relaxed);
}

// ---- Creates and look-ups --------------------------------------------------------------------

bool Admission::AdmitWhole(const Client& client, std::size_t cost, Duration time_left) {
  const std::size_t admitted = Admit(client, cost, time_left);
  if (admitted == cost) return true;
  Release(client, admitted);
  return false;
}

std::optional<Admission::Pass> Admission::AdmitCreate(const Client& client, Duration time_left) {
  if (creates_.fetch_add(1, std::memory_order_relaxed) >=
      creates_max_.load(std::memory_order_relaxed)) {
    refused_creates_.Increment(static_cast<double>(kCreateCost));
  } else {
    // No bound is so small that none is let in.
    const std::size_t cost =
        std::clamp(limit_.load(std::memory_order_relaxed), std::size_t{1}, kCreateCost);
    if (AdmitWhole(client, cost, time_left)) return Pass(*this, client, cost, /*is_create=*/true);
  }
  creates_.fetch_sub(1, std::memory_order_relaxed);
  return std::nullopt;
}

std::optional<Admission::Pass> Admission::AdmitLookUp(const Client& client) {
  // It has no deadline and does not queue behind signatures.
  if (!AdmitWhole(client, kLookUpCost, Duration::max())) return std::nullopt;
  return Pass(*this, client, kLookUpCost, /*is_create=*/false);
}

void Admission::Pass::Return() {
  const std::size_t cost = std::exchange(cost_, 0);
  if (cost == 0) return;
  admission_.Release(client_, cost);
  if (is_create_) admission_.creates_.fetch_sub(1, std::memory_order_relaxed);
}

// Fast down and slowly up, as TCP does it: halved each tick, an eighth more each tick.
// `mean_latency`: of what was answered in this tick, 0 where nothing was.
void Admission::AdjustCreates(Duration mean_latency) {
  slow_ticks_ = mean_latency > kSignLatencyAside ? slow_ticks_ + 1 : 0;
  const std::size_t now = creates_max_.load(std::memory_order_relaxed);
  std::size_t wanted = now;
  if (slow_ticks_ == 0) wanted = now + std::max(std::size_t{1}, now / 8);
  if (slow_ticks_ >= kSlowTicksAside) wanted = now / 2;
  const std::size_t quarter = limit_.load(std::memory_order_relaxed) / (4 * kCreateCost);
  const std::size_t most = std::clamp(quarter, kCreatesMin, kCreatesMax);
  creates_max_.store(std::clamp(wanted, kCreatesMin, most), std::memory_order_relaxed);
}

// ---- Time ------------------------------------------------------------------------------------

void Admission::OnAnswered(Duration latency) {
  latency_sum_.fetch_add(latency.count(), std::memory_order_relaxed);
  latency_count_.fetch_add(1, std::memory_order_relaxed);
}

void Admission::Tick(MonotonicTime now, const Enclaves& enclaves) {
  if (now < next_tick_) return;
  next_tick_ = now + kTick;
  if (enclaves.in_flight_max > 0) {
    limit_.store(std::min(enclaves.in_flight_max, settings_.in_flight_max.Get()),
                 std::memory_order_relaxed);
  }
  // Halfway to the mean of the last tick. When nothing is answered it fades, so that those who are
  // in a hurry are tried again.
  const std::int64_t count = latency_count_.exchange(0, std::memory_order_relaxed);
  const Duration::rep sum = latency_sum_.exchange(0, std::memory_order_relaxed);
  const Duration::rep mean = count == 0 ? 0 : sum / count;
  usual_latency_.store((usual_latency_.load(std::memory_order_relaxed) + mean) / 2,
                       std::memory_order_relaxed);
  AdjustCreates(Duration(mean));
  if (now >= epoch_end_) {
    epoch_end_ = now + kEpoch;
    const std::uint32_t epoch = epoch_.fetch_add(1, std::memory_order_relaxed) + 1;
    clients_.ForgetIdle([epoch](const ClientAccount& account) {  // asked in neither of the last two
      return account.epoch.load(std::memory_order_relaxed) + 1 < epoch;
    });
    const std::size_t clients = clients_this_epoch_.exchange(0, std::memory_order_relaxed);
    clients_last_epoch_.store(clients, std::memory_order_relaxed);
    clients_gauge_.Set(static_cast<double>(clients));
  }
  in_flight_gauge_.Set(static_cast<double>(in_flight()));
  limit_gauge_.Set(static_cast<double>(limit_.load(std::memory_order_relaxed)));
  creates_max_gauge_.Set(static_cast<double>(creates_max_.load(std::memory_order_relaxed)));
  const std::uint64_t refused = std::max(enclaves.refused, refused_by_enclaves_);
  refused_enclave_limit_.Increment(
      static_cast<double>(refused - std::exchange(refused_by_enclaves_, refused)));
}

}  // namespace bulla
