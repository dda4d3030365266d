#include "crypto/process_hardening.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <pthread.h>

namespace bulla {
namespace {

absl::Status SystemError(const char* call) {
  return absl::InternalError(fmt::format("{}: {}", call, ::strerrordesc_np(errno)));
}

}  // namespace

absl::Status HardenProcess() {
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return SystemError("setrlimit(RLIMIT_CORE)");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return SystemError("prctl(PR_SET_DUMPABLE)");
  return absl::OkStatus();
}

bool LockThreadStack() {
  pthread_attr_t attributes;
  if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) return false;
  void* lowest = nullptr;
  std::size_t bytes = 0;
  ::pthread_attr_getstack(&attributes, &lowest, &bytes);
  ::pthread_attr_destroy(&attributes);
  // Stacks grow down: what is above here is in use already, what is below will be.
  const auto bottom = reinterpret_cast<std::uintptr_t>(lowest);
  const auto here = reinterpret_cast<std::uintptr_t>(&attributes);
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t from =
      std::max(bottom, here - std::min(here, std::uintptr_t{kLockedStackBytes})) / page * page;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address of this stack, down to its page
  void* begin = reinterpret_cast<void*>(from);
  const std::size_t length = (here / page + 1) * page - from;
  return ::mlock2(begin, length, MLOCK_ONFAULT) == 0 &&
         ::madvise(begin, length, MADV_DONTDUMP) == 0;
}

}  // namespace bulla
