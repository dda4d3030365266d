#pragma once

// The SQLite schema, as the ordered list of steps that lead to it. A step that was released is
// never changed: a new one is added.

#include <cstdint>

#include "base/clock.h"
#include "base/status.h"
#include "store/key_store.h"
#include "store/sqlite/connection.h"

namespace bulla {

// `application_id` in the head of every database that Bulla makes: "BULL".
inline constexpr std::uint32_t kSqliteApplicationId = 0x42554c4c;

// The version that this program writes.
int SqliteSchemaVersion();
// Requires: the table schema_version is there.
absl::StatusOr<std::int64_t> ReadSqliteSchemaVersion(SqliteConnection& connection);
// FAILED_PRECONDITION for a version that this program does not know.
absl::Status CheckSqliteSchemaVersion(std::int64_t version);

struct MigratedSchema {
  std::int64_t version_before = 0;  // 0: there was nothing
  StoreIdentity identity;
};

// Brings a database of any version up to this one, or an empty one into being, in one transaction,
// and says which store it is. FAILED_PRECONDITION, with nothing changed, when the database is of a
// newer version.
absl::StatusOr<MigratedSchema> MigrateSqliteSchema(SqliteConnection& connection, WallTime now);

}  // namespace bulla
