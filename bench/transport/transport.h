#pragma once

// The way of the requests to the service and of the answers back: all that differs between the
// protocols. When requests are due, what becomes of them and what is said about it does not: that
// is LoadBook's.

#include <memory>
#include <span>

#include "bench/load/load_book.h"
#include "bench/load/traffic.h"
#include "bench/transport/tcp.h"

namespace bulla {

// Confined to one thread. Every item that was sent is booked exactly once: answered, failed,
// malformed or dropped.
class Transport {
 public:
  virtual ~Transport() = default;

  // UNAVAILABLE when a connection cannot be made.
  virtual absl::Status ConnectBlocking() = 0;

  // Whether a message can go out at once.
  virtual bool CanSend() = 0;
  // Sends one message. Requires: CanSend(), and 1 to Traffic::batch items.
  virtual void Send(std::span<const DueRequest> items) = 0;

  // Waits until answers are there or a message can go out that could not before, at most until
  // `until`, and books what came.
  virtual absl::Status ReceiveBlocking(MonotonicTime until) = 0;

  // Begins to replace lost connections; called now and then.
  virtual void Reconnect() = 0;

  // Books as dropped what is not answered by now. Nothing is sent any more.
  virtual void GiveUp() = 0;
};

// The items travel under these keys. `book`, `keys` and `clock` outlive it. Open loop: `paced`.
struct TransportPlan {
  Target target;
  Traffic traffic;
  const std::vector<BenchKey>& keys;
  std::uint64_t seed = 0;
  bool paced = false;
};
std::unique_ptr<Transport> MakeHttpTransport(const TransportPlan& plan, const Clock& clock,
                                             LoadBook& book);
std::unique_ptr<Transport> MakeGrpcTransport(const TransportPlan& plan, const Clock& clock,
                                             LoadBook& book);
std::unique_ptr<Transport> MakeStreamTransport(const TransportPlan& plan, const Clock& clock,
                                               LoadBook& book);

}  // namespace bulla
