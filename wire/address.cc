#include "wire/address.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fcntl.h>
#include <poll.h>

#include "base/errno_text.h"
#include "base/host_port.h"

namespace bulla {
namespace {

constexpr int kListenBacklog = 128;
// Floods of small packets reset vsock connections on kernels that count packets, not bytes, against
// a small default buffer (256 KiB).
constexpr std::uint64_t kVsockBufferBytes = 1 << 20;

bool ParseNumber(std::string_view text, std::uint32_t max, std::uint32_t& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() && out <= max;
}

absl::Status SystemError(absl::StatusCode code, std::string_view what, const Address& address) {
  return {code, fmt::format("{} {}: {}", what, address.ToString(), ErrnoText(errno))};
}

// Buffers and latency, as each transport needs; failures are harmless.
void TuneSocket(int fd, int family) {
  if (family == AF_VSOCK) {
    ::setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &kVsockBufferBytes,
                 sizeof(kVsockBufferBytes));
    ::setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &kVsockBufferBytes,
                 sizeof(kVsockBufferBytes));
  } else if (family == AF_INET || family == AF_INET6) {
    int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
}

// Makes room for a socket at `address`. What is there is removed only if it is a socket of our own
// that nobody listens on: a refused connection says so, any other failure (a full backlog, no
// permission) does not.
absl::Status RemoveLeftOver(const Address& address) {
  const std::string path(address.unix_path());
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return SystemError(absl::StatusCode::kUnavailable, "listen", address);
  }
  if (!S_ISSOCK(info.st_mode) || info.st_uid != ::geteuid()) {
    return absl::FailedPreconditionError(fmt::format(
        "listen {}: {} is in the way; remove it, or take another path", address.ToString(),
        S_ISSOCK(info.st_mode) ? "another user's socket" : "something that is no socket"));
  }
  UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe.valid()) return SystemError(absl::StatusCode::kUnavailable, "socket", address);
  if (::connect(probe.get(), address.data(), address.size()) == 0 || errno != ECONNREFUSED) {
    return absl::AlreadyExistsError(
        fmt::format("listen {}: another process listens there", address.ToString()));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return SystemError(absl::StatusCode::kUnavailable, "remove what is left of", address);
  }
  return absl::OkStatus();
}

absl::Status WaitConnected(int fd, const Address& address, std::chrono::milliseconds timeout) {
  pollfd poll_fd{fd, POLLOUT, 0};
  int ready = ::poll(&poll_fd, 1, static_cast<int>(timeout.count()));
  if (ready == 0) {
    return absl::DeadlineExceededError(
        fmt::format("connect {}: no answer in {} ms", address.ToString(), timeout.count()));
  }
  int error = 0;
  socklen_t size = sizeof(error);
  if (ready < 0 || ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) {
    errno = error;
    return SystemError(absl::StatusCode::kUnavailable, "connect", address);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Address> Address::Parse(std::string_view text) {
  Address address;
  address.text_ = std::string(text);
  absl::Status malformed = absl::InvalidArgumentError(
      fmt::format("address: got \"{}\", want vsock:CID:PORT, unix:/PATH or tcp:HOST:PORT",
                  text.substr(0, 120)));

  if (text.starts_with("unix:")) {
    std::string_view path = text.substr(5);
    auto* un = reinterpret_cast<sockaddr_un*>(&address.storage_);
    if (path.empty() || path.find('\0') != std::string_view::npos) return malformed;
    if (path.size() >= sizeof(un->sun_path)) {
      return absl::InvalidArgumentError(
          fmt::format("address: the path of unix:{} has {} characters, at most {} fit", path,
                      path.size(), sizeof(un->sun_path) - 1));
    }
    un->sun_family = AF_UNIX;
    std::memcpy(un->sun_path, path.data(), path.size());
    address.size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    return address;
  }

  std::size_t last_colon = text.rfind(':');
  std::size_t first_colon = text.find(':');
  if (first_colon == std::string_view::npos || first_colon == last_colon) return malformed;
  std::string_view kind = text.substr(0, first_colon);
  std::string host(text.substr(first_colon + 1, last_colon - first_colon - 1));
  std::uint32_t port = 0;

  if (kind == "vsock") {
    auto* vm = reinterpret_cast<sockaddr_vm*>(&address.storage_);
    std::uint32_t cid = 0;
    if (!ParseNumber(host, VMADDR_CID_ANY, cid)) return malformed;
    if (!ParseNumber(text.substr(last_colon + 1), VMADDR_PORT_ANY, port)) return malformed;
    vm->svm_family = AF_VSOCK;
    vm->svm_cid = cid;
    vm->svm_port = port;
    address.size_ = sizeof(sockaddr_vm);
    address.text_ = fmt::format("vsock:{}:{}", cid, port);
    return address;
  }
  if (kind == "tcp") {
    absl::StatusOr<SocketAddress> tcp = ParseListenAddress(text.substr(first_colon + 1));
    if (!tcp.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("address: tcp: {}", std::string(tcp.status().message())));
    }
    if (!tcp->is_loopback()) {
      return absl::InvalidArgumentError(
          fmt::format("address: got {}, want tcp:HOST:PORT with a loopback address: TCP is for "
                      "development, on one machine; elsewhere use vsock:CID:PORT",
                      text.substr(0, 120)));
    }
    address.storage_ = tcp->storage;
    address.size_ = tcp->size;
    address.text_ = "tcp:" + tcp->ToString();
    return address;
  }
  return malformed;
}

std::string_view Address::unix_path() const {
  if (family() != AF_UNIX) return {};
  return reinterpret_cast<const sockaddr_un*>(&storage_)->sun_path;
}

std::uint32_t Address::vsock_cid() const {
  if (family() != AF_VSOCK) return VMADDR_CID_ANY;
  return reinterpret_cast<const sockaddr_vm*>(&storage_)->svm_cid;
}

absl::Status CheckAddressOn(std::string_view platform, const Address& address) {
  if (platform == kSimulated || address.family() == AF_VSOCK) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("address: got {}, want vsock:CID:PORT on platform {}; unix: and tcp: are for "
                  "platform {}, which is for development",
                  address.ToString(), platform, kSimulated));
}

absl::StatusOr<UniqueFd> DialBlocking(const Address& address, std::chrono::milliseconds timeout) {
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return SystemError(absl::StatusCode::kUnavailable, "socket", address);
  TuneSocket(fd.get(), address.family());
  if (::connect(fd.get(), address.data(), address.size()) != 0) {
    // A Unix socket says EAGAIN when the listener's backlog is full: as good as refused.
    if (errno != EINPROGRESS)
      return SystemError(absl::StatusCode::kUnavailable, "connect", address);
    BULLA_RETURN_IF_ERROR(WaitConnected(fd.get(), address, timeout));
  }
  return fd;
}

absl::StatusOr<UniqueFd> Listen(const Address& address) {
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return SystemError(absl::StatusCode::kUnavailable, "socket", address);
  TuneSocket(fd.get(), address.family());
  if (address.family() == AF_INET || address.family() == AF_INET6) {
    int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  }
  if (address.family() == AF_UNIX) {
    BULLA_RETURN_IF_ERROR(RemoveLeftOver(address));
    // The file takes the socket's mode (less the umask) as it is made: there is no moment at which
    // others could connect.
    if (::fchmod(fd.get(), S_IRUSR | S_IWUSR) != 0) {
      return SystemError(absl::StatusCode::kUnavailable, "chmod", address);
    }
  }
  if (::bind(fd.get(), address.data(), address.size()) != 0) {
    return SystemError(absl::StatusCode::kUnavailable, "bind", address);
  }
  if (::listen(fd.get(), kListenBacklog) != 0) {
    return SystemError(absl::StatusCode::kUnavailable, "listen", address);
  }
  return fd;
}

void TuneConnection(int fd) {
  sockaddr_storage local{};
  socklen_t size = sizeof(local);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size);
  TuneSocket(fd, local.ss_family);
}

}  // namespace bulla
