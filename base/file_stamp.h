#pragma once

// What tells one state of a file from another without reading it.

#include <cstdint>
#include <string>

namespace bulla {

struct FileStamp {
  // All zero: there is no such file, or the path is empty. Follows symbolic links.
  static FileStamp Of(const std::string& path);

  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t size = 0;
  std::int64_t modified_ns = 0;
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

}  // namespace bulla
