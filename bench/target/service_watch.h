#pragma once

// Looks at a service once a second while it is under load: the memory of its processes, how long
// the queues before the engine's workers are, and how busy the machine is.

#include <cstdint>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "bench/target/service.h"
#include "bench/transport/tcp.h"

namespace bulla {

// The sum of a metric's series in a text of /metrics. Nothing when it has none.
std::optional<double> SumOfMetric(std::string_view metrics, std::string_view name);

// Since the machine began, of all its CPUs together, in the kernel's ticks.
struct MachineTime {
  std::uint64_t busy = 0;
  std::uint64_t all = 0;
};
MachineTime MachineTimeNow();
// Of what passed in between; 0 when nothing did.
double BusyPercent(const MachineTime& before, const MachineTime& after);

struct WatchSample {
  Duration at{};  // since the watch began
  std::uint64_t gateway_bytes = 0;
  std::uint64_t enclave_bytes = 0;  // of all enclaves
  // Of all enclaves, from /metrics; nothing when that did not say.
  std::optional<double> queue_depth;
  std::optional<double> crossings;  // between gateway and engine, since they began
};

// Looks once when it begins, once a second, and once when it ends, on a thread of its own.
class ServiceWatch {
 public:
  // `service` and `clock` outlive it.
  ServiceWatch(const Service& service, const Clock& clock);
  ~ServiceWatch();
  ServiceWatch(const ServiceWatch&) = delete;
  ServiceWatch& operator=(const ServiceWatch&) = delete;

  // Once; ends the watch.
  std::vector<WatchSample> EndBlocking();

 private:
  void Watch();
  WatchSample Look() const;

  const Service& service_;
  const Clock& clock_;
  const MonotonicTime began_;
  absl::StatusOr<Target> admin_;
  std::vector<WatchSample> samples_;  // the thread's, while it lives
  Mutex mutex_;
  CondVar end_asked_changed_;
  bool end_asked_ BULLA_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace bulla
