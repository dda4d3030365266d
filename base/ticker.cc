#include "base/ticker.h"

#include <utility>

#include "base/thread.h"

namespace bulla {

Ticker::Ticker(std::string name, std::chrono::milliseconds interval, std::function<void()> tick) {
  thread_ = StartThread(std::move(name), [this, interval, tick = std::move(tick)] {
    while (true) {
      {
        MutexLock lock(mutex_);
        bool stop = stopped_.WaitFor(
            mutex_, interval, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return stopping_; });
        if (stop) return;
      }
      tick();
    }
  });
}

Ticker::~Ticker() { Stop(); }

void Ticker::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stopped_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

}  // namespace bulla
