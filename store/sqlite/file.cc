#include "store/sqlite/file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include <utility>

#include <fcntl.h>

#include "base/log.h"
#include "base/replaceable.h"
#include "store/health.h"

namespace bulla {
namespace {

constexpr const char* kCompanions[] = {"-wal", "-shm"};

absl::Status SystemError(const char* what, const std::string& path) {
  const int error = errno;
  return WithFault(
      absl::UnavailableError(fmt::format("cannot {} {}: {}", what, path, ::strerrordesc_np(error))),
      FaultOfErrno(error));
}

absl::Status Refused(const std::string& path, const std::string& why) {
  return absl::FailedPreconditionError(
      fmt::format("{}: {}. Nothing was changed. Name another file in `store`", path, why));
}

bool IsSame(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// O_PATH: nothing happens to what is opened, be it a tape or a FIFO, and closing it drops no lock.
UniqueFd OpenPath(const std::string& path, int flags = 0) {
  return UniqueFd(::open(path.c_str(), O_PATH | O_CLOEXEC | flags));
}

// SQLite deletes a log that lies beside a missing or empty database: it may be all there is left.
absl::Status CheckNoOrphanedLog(const std::string& real_path) {
  struct stat log {};
  const std::string path = real_path + "-wal";
  if (::lstat(path.c_str(), &log) != 0 || (S_ISREG(log.st_mode) && log.st_size == 0)) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(fmt::format(
      "{0}: there is no database, but {1} is the log of one and may hold keys. Nothing was "
      "changed. Put the database that belongs to it back beside it, or move {1} away",
      real_path, path));
}

absl::Status CheckCompanions(const std::string& real_path) {
  for (const char* suffix : kCompanions) {
    struct stat companion {};
    const std::string path = real_path + suffix;
    if (::lstat(path.c_str(), &companion) != 0) continue;
    if (!S_ISREG(companion.st_mode)) {
      return Refused(path,
                     fmt::format("it is {}, want a regular file", FileKind(companion.st_mode)));
    }
  }
  return absl::OkStatus();
}

// A new file survives a power cut only once its directory is on the disk too.
absl::Status SyncDirectoryOf(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path();
  UniqueFd parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent.valid()) return SystemError("open", directory);
  if (::fsync(parent.get()) != 0) return SystemError("sync", directory);
  return absl::OkStatus();
}

// Blobs are useless without KMS, and still nobody's business: 0600. SQLite gives its log the mode
// of the database.
absl::StatusOr<UniqueFd> Make(const std::string& path) {
  BULLA_RETURN_IF_ERROR(CheckNoOrphanedLog(path));
  UniqueFd made(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!made.valid() && errno == EEXIST) {
    return Refused(path, "it is a symbolic link that leads nowhere");
  }
  if (!made.valid()) return SystemError("make", path);
  BULLA_RETURN_IF_ERROR(SyncDirectoryOf(path));
  UniqueFd held = OpenPath(path, O_NOFOLLOW);
  if (!held.valid()) return SystemError("open", path);
  return held;
}

// What the kernel shows as regular files of no bytes is none.
bool IsOfKernel(int fd) {
  struct statfs system {};
  if (::fstatfs(fd, &system) != 0) return false;
  switch (static_cast<unsigned long>(system.f_type)) {
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case SECURITYFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
      return true;
    default:
      return false;
  }
}

absl::Status CheckFound(const std::string& path, int fd, const struct stat& found) {
  if (!S_ISREG(found.st_mode)) {
    return Refused(path, fmt::format("it is {}, want a regular file", FileKind(found.st_mode)));
  }
  if (IsOfKernel(fd)) return Refused(path, "it is a file of the kernel's");
  if (found.st_nlink != 1) {
    // The log lies beside one of the names: by another the database would be without it.
    return Refused(path, fmt::format("the file has {} names (hard links), want one",
                                     static_cast<unsigned long>(found.st_nlink)));
  }
  if ((found.st_mode & 077) != 0) {
    LogWarn("store_readable_by_others",
            {{"path", path}, {"mode", fmt::format("{:04o}", found.st_mode & 07777)}});
  }
  return absl::OkStatus();
}

}  // namespace

SqliteFile::SqliteFile(std::string path, std::string real_path, bool is_new, UniqueFd held)
    : path_(std::move(path)), real_path_(std::move(real_path)), is_new_(is_new) {
  pinned_.push_back({path_, std::move(held)});
}

absl::StatusOr<SqliteFile> SqliteFile::FindOrMake(const std::string& path) {
  // Absolute, so that no name has a meaning of its own to SQLite, as ":memory:" has.
  const std::string absolute = std::filesystem::absolute(path).lexically_normal();
  UniqueFd held = OpenPath(absolute);
  const bool made = !held.valid() && errno == ENOENT;
  if (made) {
    BULLA_ASSIGN_OR_RETURN(held, Make(absolute));
  }
  if (!held.valid()) return SystemError("open", absolute);
  struct stat found {};
  if (::fstat(held.get(), &found) != 0) return SystemError("look at", absolute);
  BULLA_RETURN_IF_ERROR(CheckFound(absolute, held.get(), found));

  std::error_code error;
  std::string real_path = std::filesystem::canonical(absolute, error);
  struct stat real {};
  if (error || ::lstat(real_path.c_str(), &real) != 0 || !IsSame(found, real)) {
    return Refused(absolute, "the file has no name of its own");  // /proc/self/fd/N
  }
  BULLA_RETURN_IF_ERROR(CheckCompanions(real_path));
  const bool is_new = found.st_size == 0;
  if (is_new) BULLA_RETURN_IF_ERROR(CheckNoOrphanedLog(real_path));
  return SqliteFile(absolute, std::move(real_path), is_new, std::move(held));
}

absl::StatusOr<Bytes> SqliteFile::ReadHead(std::size_t count) const {
  UniqueFd file(::open(real_path_.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid()) return SystemError("open", path_);
  Bytes head(count);
  const ssize_t got = ::pread(file.get(), head.data(), count, 0);
  if (got < 0) return SystemError("read", path_);
  head.resize(static_cast<std::size_t>(got));
  return head;
}

absl::Status SqliteFile::Pin() {
  for (const char* suffix : kCompanions) {
    Pinned companion{real_path_ + suffix, OpenPath(real_path_ + suffix, O_NOFOLLOW)};
    if (!companion.held.valid()) return SystemError("open", companion.path);
    pinned_.push_back(std::move(companion));
  }
  return CheckInPlace();
}

absl::Status SqliteFile::CheckInPlace() const {
  for (const Pinned& pinned : pinned_) {
    struct stat held {};
    struct stat there {};
    if (::fstat(pinned.held.get(), &held) == 0 && held.st_nlink > 0 &&
        ::stat(pinned.path.c_str(), &there) == 0 && IsSame(held, there)) {
      continue;
    }
    return WithFault(
        absl::UnavailableError(fmt::format(
            "{} is not the file that this gateway has open (it was removed, moved or replaced). No "
            "key is made until it is back. Do not stop this gateway before: docs/backup.md, "
            "\"The file is gone\"",
            pinned.path)),
        StoreFault::kGone);
  }
  return absl::OkStatus();
}

}  // namespace bulla
