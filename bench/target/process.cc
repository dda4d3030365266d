#include "bench/target/process.h"

#include <ctime>
#include <fmt/format.h>
#include <fstream>
#include <string>
#include <unistd.h>

namespace bulla {
namespace {

absl::Status Gone(pid_t pid) { return absl::NotFoundError(fmt::format("no process {}", pid)); }

}  // namespace

absl::StatusOr<Duration> CpuTimeOf(pid_t pid) {
  clockid_t clock{};
  timespec time{};
  // For pid_t 0 and -1 the kernel would take this process.
  if (pid <= 0 || ::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) {
    return Gone(pid);
  }
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

absl::StatusOr<std::uint64_t> ResidentBytesOf(pid_t pid) {
  // proc(5), /proc/pid/statm: the size and the resident part, in pages.
  std::ifstream statm(fmt::format("/proc/{}/statm", pid));
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  if (!(statm >> size >> resident)) return Gone(pid);
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace bulla
