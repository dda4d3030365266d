#pragma once

// The SQLite schema, as the ordered list of steps that lead to it. A step that was released is
// never changed: a new one is added.

#include "base/status.h"
#include "store/sqlite_connection.h"

namespace bulla {

// The version that this program writes.
int SqliteSchemaVersion();

// Brings a database of any version up to this one, or an empty one into being, in one transaction.
// FAILED_PRECONDITION, with nothing changed, when the database is of a newer version.
absl::Status MigrateSqliteSchema(SqliteConnection& connection);

}  // namespace bulla
