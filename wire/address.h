#pragma once

// Where a process listens or dials: `vsock:16:7000` (context id, port), `unix:/run/bulla/e1.sock`,
// or `tcp:127.0.0.1:7000` (base/host_port.h, of loopback alone: TCP is for development, on one
// machine). One type for the three, so that the same code runs on a Nitro parent and on a laptop.

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/status.h"

namespace bulla {

class Address {
 public:
  // InvalidArgument, naming what arrived and the three forms, for anything else.
  static absl::StatusOr<Address> Parse(std::string_view text);

  // The same for every way of writing one address.
  const std::string& ToString() const { return text_; }
  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  int family() const { return storage_.ss_family; }
  // The path of a Unix socket, empty for the other kinds.
  std::string_view unix_path() const;
  // The context id of vsock, VMADDR_CID_ANY for the other kinds.
  std::uint32_t vsock_cid() const;

 private:
  std::string text_;
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

// Where a daemon runs, as the `platform` of its own file says.
inline constexpr std::string_view kNitro = "nitro";          // production
inline constexpr std::string_view kSimulated = "simulated";  // development

// Whether a daemon may use `address` on its platform, production takes vsock
// alone, since only there does the hypervisor say who is at the other end; development takes all
// three. INVALID_ARGUMENT says what arrived and what is
// wanted.
absl::Status CheckAddressOn(std::string_view platform, const Address& address);

// Connects a stream socket; blocks for at most `timeout`. The fd is non-blocking and close-on-exec,
// its buffers set as vsock needs them. Unavailable when nobody listens, DeadlineExceeded in
// time-out.
absl::StatusOr<UniqueFd> DialBlocking(const Address& address, std::chrono::milliseconds timeout);

// Binds and listens. A Unix socket's mode is 0600 from its first moment. One of ours that was left
// over by a dead process is replaced; nothing else that lies there is touched. ALREADY_EXISTS when
// another process listens there, FAILED_PRECONDITION when something else is in the way.
absl::StatusOr<UniqueFd> Listen(const Address& address);

// What DialBlocking() does for its end, for the end of a connection that was accepted.
void TuneConnection(int fd);

}  // namespace bulla
