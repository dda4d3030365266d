#include "enclave/single_flight.h"

#include <utility>

#include "base/check.h"

namespace bulla {

SingleFlight::~SingleFlight() {
  for (auto& [id, flight] : flights_) {
    for (Waiter& waiter : flight->waiters) wheel_.Remove(waiter);
  }
}

void SingleFlight::Begin(const KeyId& id, MonotonicTime now) {
  auto [it, inserted] = flights_.try_emplace(id, std::make_unique<Flight>());
  BULLA_CHECK(inserted, "a key has one flight at a time");
  it->second->began_at = now;
}

const MonotonicTime* SingleFlight::BeganAt(const KeyId& id) const {
  auto it = flights_.find(id);
  return it == flights_.end() ? nullptr : &it->second->began_at;
}

void SingleFlight::Join(const KeyId& id, SignTask task) {
  BULLA_CHECK(!full(), "the number of waiters is bounded");
  auto it = flights_.find(id);
  BULLA_CHECK(it != flights_.end(), "there is a flight to wait for");
  Flight& flight = *it->second;
  Waiter& waiter = flight.waiters.emplace_back();
  waiter.task = std::move(task);
  waiter.flight = &flight;
  waiter.self = std::prev(flight.waiters.end());
  // The wheel fires within a tick after the time that it is given; the wait is to end before.
  wheel_.Insert(waiter, waiter.task.wait_until - kTick);
}

std::vector<SignTask> SingleFlight::End(const KeyId& id) {
  std::vector<SignTask> tasks;
  auto it = flights_.find(id);
  if (it == flights_.end()) return tasks;
  tasks.reserve(it->second->waiters.size());
  for (Waiter& waiter : it->second->waiters) {
    wheel_.Remove(waiter);
    tasks.push_back(std::move(waiter.task));
  }
  flights_.erase(it);
  return tasks;
}

void SingleFlight::Advance(MonotonicTime now, std::vector<SignTask>& rehydrate_timeout) {
  wheel_.Advance(now, [&](TimerNode& node) {
    auto& waiter = static_cast<Waiter&>(node);
    rehydrate_timeout.push_back(std::move(waiter.task));
    waiter.flight->waiters.erase(waiter.self);
  });
}

}  // namespace bulla
