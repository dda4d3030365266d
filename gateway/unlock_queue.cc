#include "gateway/unlock_queue.h"

#include <algorithm>
#include <utility>

namespace bulla {
namespace {

constexpr std::chrono::milliseconds kBackoffMin{50};
// That KMS is back is noticed by the next attempt alone, so this is how much longer than KMS itself
// an outage lasts for callers. An attempt every second or two for each DEK is nothing to KMS, and
// the number at once is bounded.
constexpr std::chrono::milliseconds kBackoffMax{2000};

}  // namespace

bool UnlockQueue::Want(const Task& task, MonotonicTime now) {
  auto it = flights_.find(task);
  if (it != flights_.end()) {
    it->second.forgotten = false;
    return true;
  }
  if (flights_.size() >= kTasksMax) return false;
  flights_[task].not_before = now;
  return true;
}

std::vector<UnlockQueue::Task> UnlockQueue::Start(MonotonicTime now) {
  std::vector<Task> started;
  if (now - second_begin_ >= std::chrono::seconds(1)) {
    second_begin_ = now;
    begun_in_second_ = 0;
  }
  if (running_ >= kConcurrencyMax || begun_in_second_ >= kRateMax) return started;
  std::vector<std::pair<MonotonicTime, const Task*>> due;
  for (const auto& [task, flight] : flights_) {
    if (!flight.running && flight.not_before <= now) due.emplace_back(flight.not_before, &task);
  }
  const std::size_t room =
      std::min({kConcurrencyMax - running_, kRateMax - begun_in_second_, due.size()});
  std::partial_sort(due.begin(), due.begin() + static_cast<std::ptrdiff_t>(room), due.end(),
                    [](const auto& a, const auto& b) { return a.first < b.first; });
  for (std::size_t i = 0; i < room; ++i) {
    started.push_back(*due[i].second);
    flights_[started.back()].running = true;
  }
  running_ += room;
  begun_in_second_ += room;
  return started;
}

void UnlockQueue::Succeeded(const Task& task) { running_ -= flights_.erase(task); }

void UnlockQueue::GaveUp(const Task& task) { running_ -= flights_.erase(task); }

unsigned UnlockQueue::Failed(const Task& task, MonotonicTime now, std::uint64_t random) {
  auto it = flights_.find(task);
  if (it == flights_.end()) return 0;
  --running_;
  Flight& flight = it->second;
  if (flight.forgotten) {
    unsigned attempts = flight.attempts + 1;
    flights_.erase(it);
    return attempts;
  }
  auto wait = std::min(kBackoffMin * (1 << std::min(flight.attempts, 10u)), kBackoffMax);
  auto jitter = std::chrono::milliseconds(random % static_cast<std::uint64_t>(wait.count() / 2));
  flight.running = false;
  flight.not_before = now + wait / 2 + jitter;
  return ++flight.attempts;
}

void UnlockQueue::Forget(std::uint32_t enclave) {
  for (auto it = flights_.begin(); it != flights_.end();) {
    if (it->first.enclave == enclave && !it->second.running) {
      it = flights_.erase(it);
    } else {
      it->second.forgotten |= it->first.enclave == enclave;
      ++it;
    }
  }
}

std::size_t UnlockQueue::size(std::uint32_t enclave) const {
  return static_cast<std::size_t>(
      std::count_if(flights_.begin(), flights_.end(),
                    [enclave](const auto& flight) { return flight.first.enclave == enclave; }));
}

}  // namespace bulla
