#pragma once

// Files read and written whole. Errors name the file and what the system said.

#include <string>
#include <string_view>

#include "base/status.h"

namespace bulla {

// Writes `text` to `path` whole or not at all, so that whoever waits for the file can read it as
// soon as it is there. Mode 0600.
absl::Status WriteFileAtomically(const std::string& path, std::string_view text);

// The whole of a file of at most `max_bytes`. INVALID_ARGUMENT when it is larger, UNAVAILABLE when
// it cannot be read.
absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t max_bytes);

// The same of a file that somebody has typed: without the mark (BOM) that some editors write in
// front of UTF-8. INVALID_ARGUMENT when the mark is UTF-16's.
absl::StatusOr<std::string> ReadTextFile(const std::string& path, std::size_t max_bytes);

}  // namespace bulla
