#include "crypto/process_hardening.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>

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

}  // namespace bulla
