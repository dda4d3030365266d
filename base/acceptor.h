#pragma once

// Takes connections off a listening socket, and knows how to wait when none can be taken.
//
// Without a free descriptor, or without memory, accept fails at once, and the socket goes on saying
// that a connection waits: whoever just tries again uses a whole CPU and fills the disk with what
// it logs. So nothing is accepted for kPause then; meanwhile connections wait in the kernel's
// queue, and are taken when there is room again. A connection that broke before it was taken is
// skipped.
//
// Every listener of every daemon accepts through this.

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>

#include "base/fd.h"
#include "base/metrics.h"

namespace bulla {

// Confined to the thread, or the strand, of its executor, but for the constructor. May be destroyed
// while its loop still holds handlers of it: they do nothing then.
class Acceptor {
 public:
  // For Options::on_pause: counts in bulla_accept_pauses_total{listener="`listener`"}.
  static std::function<void()> CountIn(Metrics& metrics, const std::string& listener);

  // A connection: its descriptor is non-blocking and close-on-exec.
  using Take = std::function<void(UniqueFd)>;

  // Long enough that trying costs nothing, short enough that no client minds.
  static constexpr std::chrono::milliseconds kPause{50};
  // Taken at a time, before the loop's other work has its turn.
  static constexpr int kTurnMax = 64;

  struct Options {
    std::string name;                // for the log: "http", "admin"
    std::function<void()> on_pause;  // for a counter; may be empty
  };

  // `listener` is a listening stream socket of any kind.
  Acceptor(const boost::asio::any_io_executor& executor, UniqueFd listener, Options options,
           Take take);
  ~Acceptor();  // Close()

  // From now on connections are given to `take`.
  void Start();
  // Those that the kernel has completed already, as far as they can be taken.
  void TakeWaiting();
  // Closes the listening socket. Idempotent.
  void Close();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace bulla
