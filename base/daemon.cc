#include "base/daemon.h"

#include <sys/resource.h>
#include <utility>

#include <malloc.h>
#include <pthread.h>

namespace bulla {

bool IsIgnored(int signal) {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

StopSignals::StopSignals(std::function<void()> on_hangup) : on_hangup_(std::move(on_hangup)) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  sigemptyset(&signals_);
  for (int signal : {SIGTERM, SIGINT}) {
    if (!IsIgnored(signal)) sigaddset(&signals_, signal);
  }
  if (on_hangup_ && !IsIgnored(SIGHUP)) sigaddset(&signals_, SIGHUP);
  ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

std::string_view StopSignals::WaitBlocking() {
  while (true) {
    int signal = 0;
    if (::sigwait(&signals_, &signal) != 0) continue;
    if (signal != SIGHUP) return signal == SIGTERM ? "SIGTERM" : "SIGINT";
    on_hangup_();
  }
}

std::size_t RaiseDescriptorLimit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

void ReturnLargeBuffersAtOnce() {
  ::mallopt(M_MMAP_THRESHOLD, 256 * 1024);  // NOLINT(concurrency-mt-unsafe): no threads yet
}

}  // namespace bulla
