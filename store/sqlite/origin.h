#pragma once

// Whose database a file is: found out before the first change to it. What Bulla made says so in
// SQLite's `application_id`; what it made before it wrote one has all of its tables.

#include "base/status.h"
#include "store/sqlite/file.h"

namespace bulla {

// OK for a key store of this version or an earlier one. FAILED_PRECONDITION, with nothing changed,
// for everything else, a newer version among it.
absl::Status CheckSqliteOrigin(const SqliteFile& file);

// Makes a new, empty file a database of Bulla's, without tables. Durable before the file can have
// a log, so that no part of it is ever without.
absl::Status ClaimNewSqliteFile(const SqliteFile& file);

}  // namespace bulla
