#include "base/file.h"

#include <cerrno>
#include <cstdio>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>

#include "base/errno_text.h"
#include "base/fd.h"
#include "base/replaceable.h"

namespace bulla {
namespace {

constexpr std::string_view kUtf8Mark = "\xef\xbb\xbf";
constexpr std::string_view kUtf16Marks[] = {"\xfe\xff", "\xff\xfe"};

absl::Status FileError(std::string_view what, const std::string& path) {
  return absl::UnavailableError(fmt::format("cannot {} {}: {}", what, path, ErrnoText(errno)));
}

}  // namespace

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

absl::StatusOr<std::string> ReadTextFile(const std::string& path, std::size_t max_bytes) {
  BULLA_ASSIGN_OR_RETURN(std::string text, ReadFile(path, max_bytes));
  for (std::string_view mark : kUtf16Marks) {
    if (text.starts_with(mark)) {
      return absl::InvalidArgumentError(fmt::format("{} is UTF-16, want UTF-8", path));
    }
  }
  if (text.starts_with(kUtf8Mark)) text.erase(0, kUtf8Mark.size());
  return text;
}

}  // namespace bulla
