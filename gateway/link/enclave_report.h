#pragma once

// What an enclave says of itself in a probe, as values. The bytes are the enclave's, hence foreign:
// what has not the shape that it should have is left out here, so that nobody behind has to look.
// Pure.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace bulla::wire::v1 {
class ProbeReply;
}  // namespace bulla::wire::v1

namespace bulla {

// Counters are since the enclave's start.
struct EnclaveReport {
  struct Histogram {
    std::vector<double> bounds;         // upper bounds, ascending, without +Inf
    std::vector<std::uint64_t> counts;  // one more than bounds, not cumulative
    double sum = 0;
  };
  // Ours has 12. More would be a page of /metrics for each enclave.
  static constexpr std::size_t kHistogramBoundsMax = 64;

  std::uint64_t signatures = 0;
  std::uint64_t keys_created = 0;
  std::uint64_t keys_warm = 0;
  std::uint64_t keys_cool = 0;
  std::uint64_t keys_invalid = 0;
  std::uint64_t deks_open = 0;
  std::uint64_t queue_depth = 0;
  std::uint64_t rehydrations = 0;
  std::uint64_t rehydrations_failed = 0;
  std::uint64_t refreshes = 0;
  std::uint64_t singleflight_waiters = 0;
  std::uint64_t hard_expired_rejections = 0;
  std::uint64_t plain_keys_evicted = 0;
  std::uint64_t blobs_evicted = 0;
  std::uint64_t key_memory_bytes = 0;
  std::uint64_t key_memory_budget_bytes = 0;
  std::uint64_t locked_bytes = 0;
  std::uint64_t locked_budget_bytes = 0;
  std::uint64_t frames_in = 0;
  std::uint64_t frames_out = 0;
  std::uint64_t jobs = 0;
  std::uint64_t worker_busy_us = 0;
  std::uint64_t uptime_us = 0;
  std::uint64_t workers = 0;
  std::uint64_t engine_init_us = 0;
  // Each is nothing when it is malformed or not there.
  std::optional<Histogram> rehydrate_latency_ms;
  std::optional<Histogram> sign_cpu_us;
  std::optional<Histogram> batch_size;
};

EnclaveReport DecodeReport(const wire::v1::ProbeReply& reply);

// The share of the time between two reports that the workers were at work, 0 to 1. 0 when the
// second is not a later one of the same enclave.
double WorkerBusyRatio(const EnclaveReport& before, const EnclaveReport& after);

// The data keys that the enclave wants opened again: at most kDeksToRenewMax, the well-formed ones.
std::vector<DekId> DecodeDeksToRenew(const wire::v1::ProbeReply& reply);

// A text of the enclave's, fit for a log line and a terminal: cut, and plain printable ASCII.
std::string ShownText(std::string_view text);

}  // namespace bulla
