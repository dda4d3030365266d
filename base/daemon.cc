#include "base/daemon.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>

#include "base/fd.h"
#include "base/replaceable.h"

namespace bulla {
namespace {

absl::Status FileError(std::string_view what, const std::string& path) {
  return absl::UnavailableError(fmt::format("{} {}: {}", what, path, std::strerror(errno)));
}

}  // namespace

StopSignals::StopSignals(std::function<void()> on_hangup) : on_hangup_(std::move(on_hangup)) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  if (on_hangup_) sigaddset(&signals_, SIGHUP);
  ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

std::string_view StopSignals::WaitBlocking() {
  while (true) {
    int signal = 0;
    if (::sigwait(&signals_, &signal) != 0) continue;
    if (signal != SIGHUP) return signal == SIGTERM ? "SIGTERM" : "SIGINT";
    on_hangup_();
  }
}

std::size_t RaiseDescriptorLimit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

void ReturnLargeBuffersAtOnce() { ::mallopt(M_MMAP_THRESHOLD, 256 * 1024); }

absl::Status WriteFileAtomically(const std::string& path, std::string_view text) {
  std::string temporary = path + ".new";
  BULLA_RETURN_IF_ERROR(CheckReplaceable(path));
  BULLA_RETURN_IF_ERROR(CheckReplaceable(temporary));
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                     S_IRUSR | S_IWUSR));
  if (!fd.valid()) return FileError("open", temporary);
  while (!text.empty()) {
    ssize_t written = ::write(fd.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("write", temporary);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fsync(fd.get()) != 0) return FileError("fsync", temporary);
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return FileError("rename to", path);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t max_bytes) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return FileError("open", path);
  std::string text;
  char chunk[4096];
  while (true) {
    ssize_t got = ::read(fd.get(), chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("read", path);
    if (got == 0) return text;
    text.append(chunk, static_cast<std::size_t>(got));
    if (text.size() > max_bytes) {
      return absl::InvalidArgumentError(fmt::format("{} has more than {} bytes", path, max_bytes));
    }
  }
}

}  // namespace bulla
