#include "kms/nsm_device.h"

#include <cerrno>
#include <fmt/format.h>
#include <sys/ioctl.h>

#include <fcntl.h>

#include "base/errno_text.h"

namespace bulla {
namespace {

// Of include/uapi/linux/nsm.h, which Debian's kernel headers do not have yet. `address` is a user
// pointer widened to 64 bits.
struct NsmIovec {
  std::uint64_t address;
  std::uint64_t length;
};
struct NsmRaw {
  NsmIovec request;
  NsmIovec response;
};
static_assert(sizeof(NsmRaw) == 32);
constexpr unsigned long kNsmIoctlRaw = _IOWR(0x0A, 0x0, NsmRaw);
static_assert(kNsmIoctlRaw == 0xC0200A00);

}  // namespace

absl::StatusOr<std::unique_ptr<NsmDevice>> NsmDevice::Open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) {
    return absl::FailedPreconditionError(
        fmt::format("cannot open {}: {} (is this a Nitro Enclave?)", path, ErrnoText(errno)));
  }
  return std::unique_ptr<NsmDevice>(new NsmDevice(std::move(fd)));
}

absl::StatusOr<Bytes> NsmDevice::Exchange(ByteSpan request) {
  // The driver cuts a longer reply silently, so the buffer is always the largest.
  Bytes response(kNsmResponseBytesMax);
  NsmRaw raw{{reinterpret_cast<std::uintptr_t>(request.data()), request.size()},
             {reinterpret_cast<std::uintptr_t>(response.data()), response.size()}};
  int result;
  do {
    result = ::ioctl(fd_.get(), kNsmIoctlRaw, &raw);
  } while (result < 0 && errno == EINTR);
  if (result < 0) {
    return absl::UnavailableError(fmt::format("NSM driver: {}", ErrnoText(errno)));
  }
  if (raw.response.length > response.size()) {
    return absl::InternalError("NSM driver: reply over its limit");
  }
  response.resize(raw.response.length);
  return response;
}

}  // namespace bulla
