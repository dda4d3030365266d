#pragma once

// The database as files: found or made without changing what is somebody else's, and watched while
// it is open. SQLite goes on writing into a file that was removed or moved away, and says that all
// is well; after a restart everything written since would be gone. So whoever acknowledges asks
// here, before and after, whether the files at their paths are the ones that are open.

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/status.h"

namespace bulla {

// Thread-safe once pinned.
class SqliteFile {
 public:
  // The file, or a new one of mode 0600 where there is none. What is there is not changed.
  // FAILED_PRECONDITION for what is no regular file, has a second name, or lacks its database while
  // the log of one is there; UNAVAILABLE for what the system refuses.
  static absl::StatusOr<SqliteFile> FindOrMake(const std::string& path);

  // As the configuration names it, absolute.
  const std::string& path() const { return path_; }
  // Without symbolic links: what SQLite is to be given, and where its log lies.
  const std::string& real_path() const { return real_path_; }
  // Nothing was there, or a file without a byte.
  bool is_new() const { return is_new_; }
  // The first `count` bytes, or as many as there are. Not while SQLite has the file open: closing
  // a file drops the locks that this process has on it.
  absl::StatusOr<Bytes> ReadHead(std::size_t count) const;

  // Takes note of the log and its index, which SQLite has opened by now.
  absl::Status Pin();
  // Whether database, log and index are at their paths. UNAVAILABLE, StoreFault::kGone, says what
  // is not. Microseconds: a stat(2) for each.
  absl::Status CheckInPlace() const;

 private:
  // A file that is held so that its inode number cannot become another's.
  struct Pinned {
    std::string path;
    UniqueFd held;
  };

  SqliteFile(std::string path, std::string real_path, bool is_new, UniqueFd held);

  std::string path_;
  std::string real_path_;
  bool is_new_;
  std::vector<Pinned> pinned_;  // the database first
};

}  // namespace bulla
