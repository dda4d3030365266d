#include "base/replaceable.h"

#include <fmt/format.h>
#include <sys/stat.h>

namespace bulla {

const char* FileKind(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "a regular file";
    case S_IFDIR:
      return "a directory";
    case S_IFIFO:
      return "a FIFO";
    case S_IFSOCK:
      return "a socket";
    case S_IFLNK:
      return "a symbolic link";
    default:
      return "a device";
  }
}

absl::Status CheckReplaceable(const std::string& path) {
  struct stat there {};
  if (::lstat(path.c_str(), &there) != 0 || S_ISREG(there.st_mode)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("cannot write {}: {} is there, want a regular file or nothing; name another path",
                  path, FileKind(there.st_mode)));
}

}  // namespace bulla
