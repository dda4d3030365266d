#pragma once

// What lies at a path, before a file of ours takes its place: only a regular file may go for it.

#include <string>
#include <sys/types.h>

#include "base/status.h"

namespace bulla {

// OK where nothing is at `path` or a regular file: what a file of ours may take the place of.
// FAILED_PRECONDITION says what is there instead, a device say, which renaming a file over it would
// remove from the system.
absl::Status CheckReplaceable(const std::string& path);

// What an inode of this mode is, as an error says it: "a directory", "a device".
const char* FileKind(mode_t mode);

}  // namespace bulla
