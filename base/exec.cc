#include "base/exec.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <initializer_list>
#include <unistd.h>

namespace bulla {
namespace {

void Say(const char* text) {
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, text, std::strlen(text));
}

}  // namespace

void ExecOrExplain(char* const* argv, char* const* environment) {
  for (int signal : {SIGHUP, SIGINT, SIGPIPE, SIGCHLD}) std::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  ::execve(argv[0], argv, environment);
  const char* name = ::strerrorname_np(errno);
  Say("cannot run ");
  Say(argv[0]);
  Say(": ");
  Say(::strerrordesc_np(errno));
  Say(name == nullptr ? "" : " (");
  Say(name == nullptr ? "" : name);
  Say(name == nullptr ? "\n" : ")\n");
  ::_exit(127);
}

}  // namespace bulla
