#pragma once

// Where a fake service of a test listens: a TCP port of the kernel's choice on loopback, or a Unix
// socket.

#include <arpa/inet.h>
#include <cstdint>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/check.h"
#include "base/fd.h"

namespace bulla {

struct LoopbackListener {
  UniqueFd fd;
  std::uint16_t port = 0;

  explicit LoopbackListener(const std::string& path)
      : fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    BULLA_CHECK(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
                    ::listen(fd.get(), 64) == 0,
                "a test can listen on a socket");
  }
  LoopbackListener() : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    BULLA_CHECK(::bind(fd.get(), generic, size) == 0 && ::listen(fd.get(), 64) == 0 &&
                    ::getsockname(fd.get(), generic, &size) == 0,
                "a test can listen on loopback");
    port = ntohs(address.sin_port);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port); }
};

}  // namespace bulla
