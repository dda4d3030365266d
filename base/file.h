#pragma once

// Files read and written whole. Errors name the file and what the system said.

#include <span>
#include <string>
#include <string_view>
#include <sys/types.h>

#include "base/bytes.h"
#include "base/status.h"

namespace bulla {

// Writes `text` to `path` whole or not at all, so that whoever waits for the file can read it as
// soon as it is there. OK: the file is durable under its name, a power cut included. After an error
// `path` has what it had, or all of `text` where only the folder could not be synced.
// `mode` is exact: no umask takes from it. FAILED_PRECONDITION when what is at `path` is no regular
// file, UNAVAILABLE for what the system refuses.
absl::Status WriteFileAtomically(const std::string& path, std::string_view text,
                                 mode_t mode = 0600);

// The same of `parts`, one behind the other, so that a secret among them need not be copied.
absl::Status WriteFileAtomically(const std::string& path, std::span<const ByteSpan> parts,
                                 mode_t mode = 0600);

// The whole of a file of at most `max_bytes`. INVALID_ARGUMENT when it is larger, UNAVAILABLE when
// it cannot be read.
absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t max_bytes);

// The same of a file that somebody has typed: without the mark (BOM) that some editors write in
// front of UTF-8. INVALID_ARGUMENT when the mark is UTF-16's.
absl::StatusOr<std::string> ReadTextFile(const std::string& path, std::size_t max_bytes);

}  // namespace bulla
