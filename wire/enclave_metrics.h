#pragma once

// What an enclave counts and holds, a row for each number: where it travels in a probe's answer,
// and as what the gateway shows it in /metrics and in /status. Enclaves have no listener of their
// own to be scraped at. Whoever counts, sends, reads or shows a number finds it here, so a new one
// is a row here and the line that counts it; `bulla status` shows what /status has, docs/metrics.md
// what /metrics has. Pure.

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace bulla {

enum class EnclaveMetricKind {
  kCounter,  // since the enclave's start
  kGauge,    // what is so now; gone with the connection
};

struct EnclaveMetric {
  std::string_view name;  // in the code
  int field;              // of ProbeReply, where it is a uint64; never another metric's afterwards
  std::string_view status;  // a member of the enclave in /status; empty: it is not there
  EnclaveMetricKind kind;
  const char* family;  // in /metrics; empty: it is not there
  const char* help;
  // Rows of one family follow each other and differ in the label's value.
  const char* label = "";
  const char* label_value = "";
  double divisor = 1;  // /metrics shows the value divided by it
};

struct EnclaveHistogram {
  std::string_view name;
  int field;  // of ProbeReply, where it is a Histogram
  const char* family;
  const char* help;
  std::span<const double> bounds;  // upper ones, ascending, without +Inf
};

// The field numbers that are left to the tables in enclave.proto. From kFieldsAddedLater on, an
// enclave of before a row does not send it; those below every enclave of this protocol has, but a
// zero among them may be left out.
inline constexpr int kFieldsAddedLater = 32;
inline constexpr int kMetricFieldMax = 255;

inline constexpr char kKeyCacheStateHelp[] = "Keys held, by state";
inline constexpr char kCrossingsHelp[] =
    "Hand-offs on the way of signatures: frames between the processes, jobs between the threads";

inline constexpr auto kEnclaveMetrics = [] {
  constexpr EnclaveMetricKind kCounter = EnclaveMetricKind::kCounter;
  constexpr EnclaveMetricKind kGauge = EnclaveMetricKind::kGauge;
  return std::to_array<EnclaveMetric>({
      {"keys_warm", 4, "keysWarm", kGauge, "key_cache_state", kKeyCacheStateHelp, "state", "WARM"},
      {"keys_cool", 5, "keysCool", kGauge, "key_cache_state", kKeyCacheStateHelp, "state", "COOL"},
      // Held, but their data key is not open.
      {"keys_invalid", 6, "keysInvalid", kGauge, "key_cache_state", kKeyCacheStateHelp, "state",
       "INVALID"},
      {"rehydrations", 9, "rehydrations", kCounter, "rehydrate_total",
       "Plain keys opened from their blobs, refreshes among them"},
      {"rehydrations_failed", 10, "rehydrationsFailed", kCounter, "rehydrate_fail",
       "Plain keys that could not be opened from their blobs"},
      {"singleflight_waiters", 12, "singleflightWaiters", kGauge, "singleflight_waiters",
       "Signatures that wait for a key to be opened"},
      {"hard_expired_rejections", 13, "hardExpiredRejections", kCounter,
       "hard_expired_rejections_total",
       "Signatures refused because a TTL was over and nothing was renewed in time: 0 outside "
       "drills"},
      {"queue_depth", 8, "queueDepth", kGauge, "engine_q_depth", "Jobs that wait for a worker"},
      // Frames with something to do in them.
      {"frames_in", 24, "", kCounter, "engine_crossings_total", kCrossingsHelp, "kind",
       "request_frame"},
      {"frames_out", 25, "", kCounter, "engine_crossings_total", kCrossingsHelp, "kind",
       "reply_frame"},
      {"jobs", 26, "", kCounter, "engine_crossings_total", kCrossingsHelp, "kind", "job"},
      {"engine_init_us", 30, "", kGauge, "engine_init_ms",
       "Time that the engine took to be made and to test itself, in ms", "", "", 1000},
      {"signatures", 2, "signatures", kCounter, "bulla_enclave_signatures_total",
       "Signatures made"},
      {"refreshes", 11, "refreshes", kCounter, "bulla_enclave_key_refreshes_total",
       "Keys opened again in the background while still usable"},
      {"plain_keys_evicted", 14, "", kCounter, "bulla_enclave_plain_keys_evicted_total",
       "Plain keys wiped early, for lack of locked memory"},
      {"blobs_evicted", 15, "", kCounter, "bulla_enclave_blobs_evicted_total",
       "Blobs dropped, for lack of memory"},
      {"key_memory_bytes", 16, "keyMemoryBytes", kGauge, "bulla_enclave_key_memory_bytes",
       "Memory that keys take"},
      {"key_memory_budget_bytes", 17, "keyMemoryBudgetBytes", kGauge,
       "bulla_enclave_key_memory_budget_bytes", "Memory that keys may take"},
      {"locked_bytes", 18, "lockedBytes", kGauge, "bulla_enclave_locked_bytes",
       "Locked memory that plain keys take"},
      {"locked_budget_bytes", 19, "lockedBudgetBytes", kGauge, "bulla_enclave_locked_budget_bytes",
       "Locked memory that plain keys may take"},
      {"deks_open", 7, "deksOpen", kGauge, "bulla_enclave_deks_open", "Data keys that are open"},
      {"keys_created", 3, "keysCreated", kCounter, "", ""},
      // For worker_busy_ratio, which the gateway makes of two reports.
      {"worker_busy_us", 27, "", kCounter, "", ""},  // of all workers together
      {"uptime_us", 28, "", kCounter, "", ""},
      {"workers", 29, "", kGauge, "", ""},
  });
}();

// An opening takes 0.05 to 0.1 ms; 0.2 is the objective's p99, 2 the spec's p95.
inline constexpr double kRehydrateBoundsMs[] = {0.03, 0.05, 0.075, 0.1, 0.15, 0.2,
                                                0.5,  1,    2,     5,   10,   50};
// Unchecked some 20, computed twice 40 to 60; 300 is the spec's limit.
inline constexpr double kSignBoundsUs[] = {15, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 1000};
// A frame has 32 at most.
inline constexpr double kBatchBounds[] = {1, 2, 4, 8, 12, 16, 24, 32};

inline constexpr auto kEnclaveHistograms = std::to_array<EnclaveHistogram>({
    {"rehydrate_latency_ms", 20, "rehydrate_latency_ms",
     "Time to open a plain key from its blob, in ms", kRehydrateBoundsMs},
    {"sign_cpu_us", 22, "sign_cpu_us",
     "CPU time of a signature with its check, the mean of its job, in us", kSignBoundsUs},
    {"batch_size", 23, "batch_size_hist", "Signatures asked for in one frame", kBatchBounds},
});

// A row by its name, found while compiling: a name that no row has does not compile.
template <const auto& kRows>
struct NamedRow {
  std::size_t index = 0;

  consteval NamedRow(const char* name) {  // NOLINT(google-explicit-constructor): Increment("jobs")
    while (kRows.at(index).name != name) ++index;
  }
};
using EnclaveMetricId = NamedRow<kEnclaveMetrics>;
using EnclaveHistogramId = NamedRow<kEnclaveHistograms>;

}  // namespace bulla
