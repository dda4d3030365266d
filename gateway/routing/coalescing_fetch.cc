#include "gateway/routing/coalescing_fetch.h"

#include <utility>

namespace bulla {

CoalescingFetch::Next CoalescingFetch::Ask(std::uint32_t enclave, SignCall* call,
                                           MonotonicTime now) {
  if (call->blob_loads == kLoadsMax) return Next::kGiveUp;
  auto [it, is_new] = loads_.try_emplace({enclave, call->key_id});
  Load& load = it->second;
  if (!is_new && !load.fetching) {
    if (now - load.sent_at < kUnderWay) {
      if (call->blob_follows == kFollowsAtOnceMax) return Next::kLater;
      ++call->blob_follows;
      return Next::kRepeat;
    }
    load = Load{};
    is_new = true;
  }
  ++call->blob_loads;
  load.waiting.Append(call);
  return is_new ? Next::kFetch : Next::kWait;
}

CoalescingFetch::Asked CoalescingFetch::AskAll(std::uint32_t enclave, SignCall* first,
                                               MonotonicTime now) {
  Asked asked;
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    switch (Ask(enclave, call, now)) {
      case Next::kFetch:
        asked.to_fetch.push_back(call->key_id);
        break;
      case Next::kWait:
        break;
      case Next::kRepeat:
        asked.resend.Append(call);
        break;
      case Next::kLater:
        asked.later.Append(call);
        break;
      case Next::kGiveUp:
        asked.given_up.Append(call);
        break;
    }
  }
  return asked;
}

SignCall* CoalescingFetch::TakeWaiting(std::uint32_t enclave, const KeyId& key_id, bool found,
                                       MonotonicTime now) {
  auto it = loads_.find({enclave, key_id});
  if (it == loads_.end()) return nullptr;
  SignCall* first = std::exchange(it->second.waiting, {}).first();
  if (found && first != nullptr) {
    it->second.fetching = false;
    it->second.sent_at = now;
  } else {
    loads_.erase(it);
  }
  return first;
}

SignCall* CoalescingFetch::TakeExpired(MonotonicTime now) {
  CallList expired;
  for (auto& [key, load] : loads_) {
    SignCall* first = std::exchange(load.waiting, {}).first();
    while (first != nullptr) {
      SignCall* call = PopFirst(first);
      (now >= call->deadline ? expired : load.waiting).Append(call);
    }
  }
  return expired.first();
}

void CoalescingFetch::Dropped(std::uint32_t enclave, const KeyId& key_id) {
  auto it = loads_.find({enclave, key_id});
  if (it != loads_.end() && !it->second.fetching) loads_.erase(it);
}

void CoalescingFetch::Prune(MonotonicTime now) {
  absl::erase_if(loads_, [now](const auto& load) {
    return !load.second.fetching && now - load.second.sent_at >= kUnderWay;
  });
}

}  // namespace bulla
