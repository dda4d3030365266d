#include "gateway/call/call_list.h"

#include <array>

namespace bulla {
namespace {

// Homes are I/O threads, so there are few. A frame that meets more delivers in more than one round.
constexpr std::size_t kHomesAtOnce = 8;

}  // namespace

std::size_t CountCalls(const SignCall* first) {
  std::size_t count = 0;
  for (; first != nullptr; first = first->next) ++count;
  return count;
}

void DeliverAll(SignCall* first) {
  std::array<CallHome*, kHomesAtOnce> homes{};
  std::array<CallList, kHomesAtOnce> lists;
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    std::size_t i = 0;
    while (i < kHomesAtOnce && homes[i] != nullptr && homes[i] != call->home) ++i;
    if (i == kHomesAtOnce) {
      call->home->Deliver(call);
      continue;
    }
    homes[i] = call->home;
    lists[i].Append(call);
  }
  for (std::size_t i = 0; i < kHomesAtOnce && homes[i] != nullptr; ++i) {
    homes[i]->Deliver(lists[i].first());
  }
}

void FailAll(SignCall* first, ErrorCode error) {
  for (SignCall* call = first; call != nullptr; call = call->next) call->error = error;
  DeliverAll(first);
}

}  // namespace bulla
