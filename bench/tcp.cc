#include "bench/tcp.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <netinet/tcp.h>

#include <fcntl.h>
#include <netdb.h>

#include "base/errno_text.h"

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

absl::StatusOr<Target> ResolveBlocking(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  std::string_view rest = url;
  if (rest.starts_with(kScheme)) rest.remove_prefix(kScheme.size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  std::size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == rest.size() ||
      rest.find('/') != std::string_view::npos) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is no URL of a service: wanted http://HOST:PORT", url));
  }
  std::string_view host = rest.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);

  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int error = ::getaddrinfo(std::string(host).c_str(), std::string(rest.substr(colon + 1)).c_str(),
                            &hints, &found);
  if (error != 0) return absl::UnavailableError(fmt::format("{}: {}", rest, ::gai_strerror(error)));
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  Target target{.host_field = std::string(rest), .address_bytes = found->ai_addrlen};
  std::memcpy(&target.address, found->ai_addr, found->ai_addrlen);
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
