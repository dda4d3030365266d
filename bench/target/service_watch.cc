#include "bench/target/service_watch.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

#include "base/thread.h"
#include "bench/target/process.h"
#include "bench/transport/http_call.h"

namespace bulla {
namespace {

constexpr Duration kLookEvery = std::chrono::seconds(1);
constexpr std::string_view kQueueDepth = "engine_q_depth";
constexpr std::string_view kCrossings = "engine_crossings_total";

}  // namespace

std::optional<double> SumOfMetric(std::string_view metrics, std::string_view name) {
  std::optional<double> sum;
  while (!metrics.empty()) {
    std::string_view line = metrics.substr(0, metrics.find('\n'));
    metrics.remove_prefix(std::min(line.size() + 1, metrics.size()));
    if (!line.starts_with(name)) continue;
    std::string_view rest = line.substr(name.size());
    // Another metric's name may begin with this one's.
    if (!rest.starts_with('{') && !rest.starts_with(' ')) continue;
    std::string_view number = rest.substr(rest.rfind(' ') + 1);
    double value = 0;
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error == std::errc() && end == number.data() + number.size()) {
      sum = sum.value_or(0) + value;
    }
  }
  return sum;
}

MachineTime MachineTimeNow() {
  // proc(5), /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; guests' time is
  // counted in user's.
  constexpr int kFields = 8;
  std::ifstream stat("/proc/stat");
  std::string name;
  stat >> name;
  MachineTime time;
  for (int field = 0; field < kFields; ++field) {
    std::uint64_t ticks = 0;
    stat >> ticks;
    time.all += ticks;
    bool idle = field == 3 || field == 4;
    if (!idle) time.busy += ticks;
  }
  return time;
}

double BusyPercent(const MachineTime& before, const MachineTime& after) {
  if (after.all <= before.all) return 0;
  return 100 * static_cast<double>(after.busy - before.busy) /
         static_cast<double>(after.all - before.all);
}

ServiceWatch::ServiceWatch(const Service& service, const Clock& clock)
    : service_(service),
      clock_(clock),
      began_(clock.Now()),
      admin_(ResolveBlocking(service.admin)),
      thread_(StartThread("watch", [this] { Watch(); })) {}

ServiceWatch::~ServiceWatch() {
  if (thread_.joinable()) EndBlocking();
}

std::vector<WatchSample> ServiceWatch::EndBlocking() {
  {
    MutexLock lock(mutex_);
    end_asked_ = true;
  }
  end_asked_changed_.NotifyOne();
  thread_.join();
  return std::move(samples_);
}

void ServiceWatch::Watch() {
  MonotonicTime next = began_;
  bool end = false;
  while (!end) {
    samples_.push_back(Look());
    next += kLookEvery;
    MutexLock lock(mutex_);
    end =
        end_asked_changed_.WaitFor(mutex_, std::max(Duration::zero(), next - clock_.Now()),
                                   [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return end_asked_; });
  }
  samples_.push_back(Look());
}

WatchSample ServiceWatch::Look() const {
  WatchSample sample{.at = clock_.Now() - began_};
  sample.gateway_bytes = ResidentBytesOf(service_.gateway).value_or(0);
  for (pid_t pid : service_.enclaves) sample.enclave_bytes += ResidentBytesOf(pid).value_or(0);
  if (!admin_.ok()) return sample;
  absl::StatusOr<std::string> metrics = GetBlocking(*admin_, "/metrics");
  if (!metrics.ok()) return sample;
  sample.queue_depth = SumOfMetric(*metrics, kQueueDepth);
  sample.crossings = SumOfMetric(*metrics, kCrossings);
  return sample;
}

}  // namespace bulla
