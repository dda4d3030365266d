#include "gateway/unlock/queue.h"

#include <algorithm>
#include <utility>

namespace bulla {
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
  const std::size_t concurrency_max = settings_.concurrency_max.Get();
  const std::size_t rate_max = settings_.rate_max.Get();
  if (running_ >= concurrency_max || begun_in_second_ >= rate_max) return started;
  std::vector<std::pair<MonotonicTime, const Task*>> due;
  for (const auto& [task, flight] : flights_) {
    if (!flight.running && flight.not_before <= now) due.emplace_back(flight.not_before, &task);
  }
  const std::size_t room =
      std::min({concurrency_max - running_, rate_max - begun_in_second_, due.size()});
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

unsigned UnlockQueue::Failed(const Task& task, MonotonicTime now, std::uint64_t random,
                             UnlockCause cause) {
  auto it = flights_.find(task);
  if (it == flights_.end()) return 0;
  --running_;
  Flight& flight = it->second;
  if (flight.forgotten) {
    unsigned attempts = flight.attempts + 1;
    flights_.erase(it);
    return attempts;
  }
  flight.running = false;
  flight.cause = cause;
  flight.refusals = IsFinal(cause) ? flight.refusals + 1 : 0;
  ++flight.attempts;
  flight.not_before =
      now + UnlockBackoff(IsFinal(cause) ? flight.refusals : flight.attempts, cause, random);
  return flight.attempts;
}

UnlockCause UnlockQueue::CauseOf(const Task& task) const {
  auto it = flights_.find(task);
  return it == flights_.end() ? UnlockCause::kOther : it->second.cause;
}

void UnlockQueue::RetryRefused(MonotonicTime now) {
  for (auto& [task, flight] : flights_) {
    if (!IsFinal(flight.cause)) continue;
    flight.refusals = 0;
    if (!flight.running) flight.not_before = now;
  }
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

std::map<UnlockCause, std::size_t> UnlockQueue::Refused(std::uint32_t enclave) const {
  std::map<UnlockCause, std::size_t> refused;
  for (const auto& [task, flight] : flights_) {
    if (task.enclave == enclave && IsFinal(flight.cause)) ++refused[flight.cause];
  }
  return refused;
}

std::size_t UnlockQueue::hopeful(std::uint32_t enclave) const {
  return static_cast<std::size_t>(
      std::count_if(flights_.begin(), flights_.end(), [enclave](const auto& flight) {
        return flight.first.enclave == enclave && !IsFinal(flight.second.cause);
      }));
}

std::size_t UnlockQueue::hopeful() const {
  return static_cast<std::size_t>(
      std::count_if(flights_.begin(), flights_.end(),
                    [](const auto& flight) { return !IsFinal(flight.second.cause); }));
}

}  // namespace bulla
