#include "gateway/unlock_queue.h"

#include <algorithm>

namespace bulla {
namespace {

constexpr std::chrono::milliseconds kBackoffMin{50};
constexpr std::chrono::milliseconds kBackoffMax{10'000};

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
  for (auto& [task, flight] : flights_) {
    if (running_ >= kConcurrencyMax) break;
    if (flight.running || now < flight.not_before) continue;
    flight.running = true;
    ++running_;
    started.push_back(task);
  }
  return started;
}

void UnlockQueue::Succeeded(const Task& task) { running_ -= flights_.erase(task); }

void UnlockQueue::Failed(const Task& task, MonotonicTime now, std::uint64_t random) {
  auto it = flights_.find(task);
  if (it == flights_.end()) return;
  --running_;
  Flight& flight = it->second;
  if (flight.forgotten) {
    flights_.erase(it);
    return;
  }
  auto wait = std::min(kBackoffMin * (1 << std::min(flight.attempts, 10)), kBackoffMax);
  auto jitter = std::chrono::milliseconds(random % static_cast<std::uint64_t>(wait.count() / 2));
  flight.running = false;
  flight.not_before = now + wait / 2 + jitter;
  ++flight.attempts;
}

void UnlockQueue::Forget(std::size_t link) {
  for (auto it = flights_.begin(); it != flights_.end();) {
    if (it->first.link == link && !it->second.running) {
      it = flights_.erase(it);
    } else {
      it->second.forgotten |= it->first.link == link;
      ++it;
    }
  }
}

}  // namespace bulla
