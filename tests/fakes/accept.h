#pragma once

// The accepting end of a fake.

#include <sys/socket.h>

#include <poll.h>

#include "base/fd.h"

namespace bulla {

// Waits for a connection on `listener` or for `wake_fd` to become readable; an invalid fd then.
inline UniqueFd AcceptBlocking(int listener, int wake_fd) {
  pollfd fds[2] = {{listener, POLLIN, 0}, {wake_fd, POLLIN, 0}};
  if (::poll(fds, 2, -1) <= 0 || (fds[1].revents & POLLIN) != 0) return UniqueFd();
  return UniqueFd(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

}  // namespace bulla
