#include "gateway/link/forgetting.h"

#include <algorithm>
#include <utility>

namespace bulla {

void Forgetting::Begin() {
  part_ = 0;
  part_left_.clear();
  mark_ = disabled_.mark();  // what is disabled from now on is not in the parts, or in both
  earlier_ = {mark_, mark_};
}

void Forgetting::Rewind(MonotonicTime now) {
  if (now < rewind_at_) return;
  rewind_at_ = now + kAgainAfter;
  mark_ = std::exchange(earlier_[0], std::exchange(earlier_[1], mark_));
}

std::vector<KeyId> Forgetting::Next(std::size_t max, MonotonicTime now) {
  while (part_left_.empty() && part_ < DisabledKeys::Snapshot::kParts) {
    const std::shared_ptr<const DisabledKeys::Snapshot> snapshot = disabled_.snapshot();
    if (snapshot == nullptr) return {};
    if (const auto& part = snapshot->part(part_); part != nullptr) {
      part_left_.assign(part->begin(), part->end());
    }
    ++part_;
  }
  if (!part_left_.empty()) {
    const std::size_t count = std::min(max, part_left_.size());
    std::vector<KeyId> keys(part_left_.end() - static_cast<std::ptrdiff_t>(count),
                            part_left_.end());
    part_left_.resize(part_left_.size() - count);
    return keys;
  }
  Rewind(now);
  DisabledKeys::Recent recent = disabled_.Since(mark_, max);
  if (recent.missed) {
    Begin();
    return Next(max, now);
  }
  mark_ = recent.mark;
  return std::move(recent.keys);
}

}  // namespace bulla
