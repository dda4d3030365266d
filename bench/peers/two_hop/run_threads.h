#pragma once

// The threads that Asio runs on in the peers: one for each CPU.

#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "base/thread.h"

namespace peers {

// What Asio is to expect: on one CPU one thread.
inline int ThreadsHint() { return static_cast<int>(bulla::UsableCpus()); }

// Runs the context on as many threads as there are CPUs, the caller's among them, until it is
// stopped.
inline void RunThreadsBlocking(boost::asio::io_context& context) {
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < bulla::UsableCpus(); ++i) {
    threads.emplace_back([&context] { context.run(); });
  }
  context.run();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace peers
