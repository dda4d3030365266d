#include "bench/transport/tcp.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <netinet/tcp.h>

#include <fcntl.h>
#include <netdb.h>

#include "base/errno_text.h"
#include "base/http_url.h"

namespace bulla {
namespace {

constexpr timeval kPatience{.tv_sec = 5, .tv_usec = 0};

absl::Status SystemError(std::string_view doing) {
  return absl::UnavailableError(fmt::format("{}: {}", doing, ErrnoText(errno)));
}

absl::StatusOr<UniqueFd> OpenSocket(const Target& target, int flags) {
  UniqueFd fd(::socket(target.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (!fd.valid()) return SystemError("socket");
  int on = 1;
  if (::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
    return SystemError("TCP_NODELAY");
  }
  return fd;
}

int Connect(const UniqueFd& fd, const Target& target) {
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&target.address),
                   target.address_bytes);
}

}  // namespace

absl::StatusOr<Target> ResolveBlocking(std::string_view text) {
  BULLA_ASSIGN_OR_RETURN(HttpUrl url, ParseHttpUrl(text));
  Target target{.host_field = url.at.ToString(), .path = std::move(url.path)};
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int error =
      ::getaddrinfo(url.at.host.c_str(), std::to_string(url.at.port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(fmt::format("{}: {}", target.host_field, ::gai_strerror(error)));
  }
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  // A name may have several addresses, as localhost has, and the service listen on one of them.
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    std::memcpy(&target.address, address->ai_addr, address->ai_addrlen);
    target.address_bytes = address->ai_addrlen;
    if (address->ai_next == nullptr || ConnectBlocking(target).ok()) break;
  }
  return target;
}

absl::StatusOr<UniqueFd> ConnectBlocking(const Target& target) {
  BULLA_ASSIGN_OR_RETURN(UniqueFd fd, OpenSocket(target, 0));
  for (int option : {SO_SNDTIMEO, SO_RCVTIMEO}) {
    if (::setsockopt(fd.get(), SOL_SOCKET, option, &kPatience, sizeof kPatience) != 0) {
      return SystemError("time limit");
    }
  }
  if (Connect(fd, target) != 0) return SystemError("connect to " + target.host_field);
  return fd;
}

absl::StatusOr<UniqueFd> StartConnecting(const Target& target) {
  BULLA_ASSIGN_OR_RETURN(UniqueFd fd, OpenSocket(target, SOCK_NONBLOCK));
  if (Connect(fd, target) != 0 && errno != EINPROGRESS) {
    return SystemError("connect to " + target.host_field);
  }
  return fd;
}

absl::Status SetNonBlocking(int fd) {
  int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return SystemError("O_NONBLOCK");
  return absl::OkStatus();
}

}  // namespace bulla
