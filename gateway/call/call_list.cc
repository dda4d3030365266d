#include "gateway/call/call_list.h"

#include <array>

namespace bulla {
namespace {

// Homes are I/O threads, so there are few. A frame that meets more delivers in more than one round.
constexpr std::size_t kSinksAtOnce = 8;

}  // namespace

std::size_t CountCalls(const SignCall* first) {
  std::size_t count = 0;
  for (; first != nullptr; first = first->next) ++count;
  return count;
}

void CompleteAll(SignCall* first) {
  std::array<CompletionSink*, kSinksAtOnce> sinks{};
  std::array<CallList, kSinksAtOnce> lists;
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    std::size_t i = 0;
    while (i < kSinksAtOnce && sinks[i] != nullptr && sinks[i] != call->sink) ++i;
    if (i == kSinksAtOnce) {
      call->sink->Complete(call);
      continue;
    }
    sinks[i] = call->sink;
    lists[i].Append(call);
  }
  for (std::size_t i = 0; i < kSinksAtOnce && sinks[i] != nullptr; ++i) {
    sinks[i]->Complete(lists[i].first());
  }
}

void FailAll(SignCall* first, ErrorCode error) {
  for (SignCall* call = first; call != nullptr; call = call->next) call->error = error;
  CompleteAll(first);
}

}  // namespace bulla
