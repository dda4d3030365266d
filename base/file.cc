#include "base/file.h"

#include <cerrno>
#include <cstdio>
#include <filesystem>
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

absl::Status WriteAll(int fd, ByteSpan bytes, const std::string& path) {
  while (!bytes.empty()) {
    ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("write", path);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return absl::OkStatus();
}

// Leaves nothing behind when it fails: half a file may hold half a secret.
absl::Status WriteTemporary(const std::string& temporary, std::span<const ByteSpan> parts,
                            mode_t mode) {
  UniqueFd fd(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd.valid()) return FileError("open", temporary);
  // One that was left behind by a killed process has the mode that it was made with.
  absl::Status status =
      ::fchmod(fd.get(), mode) == 0 ? absl::OkStatus() : FileError("set the mode of", temporary);
  for (ByteSpan part : parts) {
    if (status.ok()) status = WriteAll(fd.get(), part, temporary);
  }
  if (status.ok() && ::fsync(fd.get()) != 0) status = FileError("sync", temporary);
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

// A new name survives a power cut only once its folder is on the disk too.
absl::Status SyncFolderOf(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return FileError("open", folder);
  if (::fsync(fd.get()) != 0) return FileError("sync", folder);
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteFileAtomically(const std::string& path, std::span<const ByteSpan> parts,
                                 mode_t mode) {
  const std::string temporary = path + ".new";
  BULLA_RETURN_IF_ERROR(CheckReplaceable(path));
  BULLA_RETURN_IF_ERROR(CheckReplaceable(temporary));
  BULLA_RETURN_IF_ERROR(WriteTemporary(temporary, parts, mode));
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    absl::Status status = FileError("rename to", path);
    ::unlink(temporary.c_str());
    return status;
  }
  return SyncFolderOf(path);
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view text, mode_t mode) {
  const ByteSpan parts[] = {AsBytes(text)};
  return WriteFileAtomically(path, parts, mode);
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
