#include "gateway/link/enclave_report.h"

#include <algorithm>
#include <cmath>

#include "wire/codec.h"
#include "wire/enclave.pb.h"

namespace bulla {
namespace {

// The longest message of ours, about a setting, has 120.
constexpr std::size_t kShownTextMax = 300;
// A double holds whole numbers up to here, and no enclave lives to count further.
constexpr std::uint64_t kCountMax = std::uint64_t{1} << 53;

bool IsWellFormed(const wire::v1::Histogram& histogram) {
  const auto& bounds = histogram.bounds();
  const auto& counts = histogram.counts();
  if (bounds.empty() || counts.size() != bounds.size() + 1) return false;
  if (bounds.size() > static_cast<int>(EnclaveReport::kHistogramBoundsMax)) return false;
  if (!std::all_of(bounds.begin(), bounds.end(), [](double b) { return std::isfinite(b); })) {
    return false;
  }
  bool ascending = std::adjacent_find(bounds.begin(), bounds.end(),
                                      [](double a, double b) { return a >= b; }) == bounds.end();
  // Sixty-five of them cannot overflow when they are added.
  bool countable =
      std::all_of(counts.begin(), counts.end(), [](std::uint64_t c) { return c <= kCountMax; });
  return ascending && countable && std::isfinite(histogram.sum()) && histogram.sum() >= 0;
}

std::optional<EnclaveReport::Histogram> DecodeHistogram(const wire::v1::Histogram& histogram) {
  if (!IsWellFormed(histogram)) return std::nullopt;
  return EnclaveReport::Histogram{.bounds = {histogram.bounds().begin(), histogram.bounds().end()},
                                  .counts = {histogram.counts().begin(), histogram.counts().end()},
                                  .sum = histogram.sum()};
}

}  // namespace

EnclaveReport DecodeReport(const wire::v1::ProbeReply& reply) {
  EnclaveReport report{.signatures = reply.signatures(),
                       .keys_created = reply.keys_created(),
                       .keys_warm = reply.keys_warm(),
                       .keys_cool = reply.keys_cool(),
                       .keys_invalid = reply.keys_invalid(),
                       .deks_open = reply.deks_open(),
                       .queue_depth = reply.queue_depth(),
                       .rehydrations = reply.rehydrations(),
                       .rehydrations_failed = reply.rehydrations_failed(),
                       .refreshes = reply.refreshes(),
                       .singleflight_waiters = reply.singleflight_waiters(),
                       .hard_expired_rejections = reply.hard_expired_rejections(),
                       .plain_keys_evicted = reply.plain_keys_evicted(),
                       .blobs_evicted = reply.blobs_evicted(),
                       .key_memory_bytes = reply.key_memory_bytes(),
                       .key_memory_budget_bytes = reply.key_memory_budget_bytes(),
                       .locked_bytes = reply.locked_bytes(),
                       .locked_budget_bytes = reply.locked_budget_bytes(),
                       .frames_in = reply.frames_in(),
                       .frames_out = reply.frames_out(),
                       .jobs = reply.jobs(),
                       .worker_busy_us = reply.worker_busy_us(),
                       .uptime_us = reply.uptime_us(),
                       .workers = reply.workers(),
                       .engine_init_us = reply.engine_init_us()};
  report.rehydrate_latency_ms = DecodeHistogram(reply.rehydrate_latency_ms());
  report.sign_cpu_us = DecodeHistogram(reply.sign_cpu_us());
  report.batch_size = DecodeHistogram(reply.batch_size());
  return report;
}

double WorkerBusyRatio(const EnclaveReport& before, const EnclaveReport& after) {
  if (after.uptime_us <= before.uptime_us || after.worker_busy_us < before.worker_busy_us ||
      after.workers == 0) {
    return 0;
  }
  const auto busy_us = static_cast<double>(after.worker_busy_us - before.worker_busy_us);
  const auto elapsed_us = static_cast<double>(after.uptime_us - before.uptime_us);
  return std::min(1.0, busy_us / (elapsed_us * static_cast<double>(after.workers)));
}

std::vector<DekId> DecodeDeksToRenew(const wire::v1::ProbeReply& reply) {
  std::vector<DekId> deks;
  for (const std::string& bytes : reply.deks_to_renew()) {
    if (deks.size() == kDeksToRenewMax) break;
    if (bytes.size() == DekId::kBytes) deks.push_back(DekId::FromBytes(AsBytes(bytes)));
  }
  return deks;
}

std::string ShownText(std::string_view text) {
  std::string shown(text.substr(0, kShownTextMax));
  for (char& c : shown) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  if (text.size() > shown.size()) shown += "...";
  return shown;
}

}  // namespace bulla
