#include "store/sqlite_schema.h"

#include <cstdint>
#include <fmt/format.h>
#include <iterator>

namespace bulla {
namespace {

// Step i leads from version i to i + 1. Ids are their 16 bytes, times are milliseconds since 1970.
constexpr const char* kSteps[] = {
    // 1: data keys, and the signing keys under them. No idempotency key is NULL, which UNIQUE
    // allows any number of times.
    R"sql(
      CREATE TABLE deks (
        dek_id     BLOB NOT NULL PRIMARY KEY CHECK (length(dek_id) = 16),
        wrapped    BLOB NOT NULL,
        kms_key_id TEXT NOT NULL,
        created_ms INTEGER NOT NULL
      ) STRICT;
      CREATE TABLE keys (
        key_id          BLOB NOT NULL PRIMARY KEY CHECK (length(key_id) = 16),
        dek_id          BLOB NOT NULL REFERENCES deks (dek_id),
        blob            BLOB NOT NULL,
        public_key      BLOB NOT NULL CHECK (length(public_key) = 33),
        address         TEXT NOT NULL,
        created_ms      INTEGER NOT NULL,
        enabled         INTEGER NOT NULL CHECK (enabled IN (0, 1)),
        idempotency_key TEXT UNIQUE
      ) STRICT, WITHOUT ROWID;
    )sql",
    // 2: which DEKs are in use, asked at every start of an enclave, without reading every key.
    R"sql(
      CREATE INDEX keys_by_dek ON keys (dek_id);
    )sql",
    // 3: which keys were enabled, disabled or removed, in the order of the changes, whoever makes
    // them: a gateway asks for what is new a few times a second. A key is there once, with its last
    // change. DELETE and INSERT, not REPLACE: inside a trigger the statement outside says what a
    // conflict means.
    R"sql(
      CREATE TABLE key_changes (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        key_id   BLOB NOT NULL UNIQUE
      ) STRICT;
      CREATE TRIGGER key_made_disabled AFTER INSERT ON keys
      WHEN new.enabled = 0 OR EXISTS (SELECT 1 FROM key_changes WHERE key_id = new.key_id) BEGIN
        DELETE FROM key_changes WHERE key_id = new.key_id;
        INSERT INTO key_changes (key_id) VALUES (new.key_id);
      END;
      CREATE TRIGGER key_enabled_changed AFTER UPDATE OF enabled ON keys
      WHEN new.enabled <> old.enabled BEGIN
        DELETE FROM key_changes WHERE key_id = new.key_id;
        INSERT INTO key_changes (key_id) VALUES (new.key_id);
      END;
      CREATE TRIGGER key_removed AFTER DELETE ON keys BEGIN
        DELETE FROM key_changes WHERE key_id = old.key_id;
        INSERT INTO key_changes (key_id) VALUES (old.key_id);
      END;
      INSERT INTO key_changes (key_id) SELECT key_id FROM keys WHERE enabled = 0;
    )sql",
};

absl::StatusOr<std::int64_t> ReadVersion(SqliteConnection& connection) {
  BULLA_RETURN_IF_ERROR(connection.Execute(
      "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT"));
  BULLA_ASSIGN_OR_RETURN(SqliteStatement select,
                         connection.Prepare("SELECT version FROM schema_version"));
  SqliteRun run(select);
  BULLA_ASSIGN_OR_RETURN(bool found, run.Next());
  return found ? run.IntegerAt(0) : 0;
}

absl::Status WriteVersion(SqliteConnection& connection, std::int64_t version) {
  BULLA_RETURN_IF_ERROR(connection.Execute("DELETE FROM schema_version"));
  BULLA_ASSIGN_OR_RETURN(SqliteStatement insert,
                         connection.Prepare("INSERT INTO schema_version VALUES (?)"));
  return SqliteRun(insert).Bind(version).Finish();
}

absl::Status MigrateInTransaction(SqliteConnection& connection) {
  BULLA_ASSIGN_OR_RETURN(std::int64_t version, ReadVersion(connection));
  if (version < 0 || version > SqliteSchemaVersion()) {
    return absl::FailedPreconditionError(
        fmt::format("the database has schema version {}, this program knows 1 to {}: a newer "
                    "program has written to it, so run that one",
                    version, SqliteSchemaVersion()));
  }
  if (version == SqliteSchemaVersion()) return absl::OkStatus();
  for (auto step = static_cast<std::size_t>(version); step < std::size(kSteps); ++step) {
    BULLA_RETURN_IF_ERROR(connection.Execute(kSteps[step]));
  }
  return WriteVersion(connection, SqliteSchemaVersion());
}

}  // namespace

int SqliteSchemaVersion() { return static_cast<int>(std::size(kSteps)); }

absl::Status MigrateSqliteSchema(SqliteConnection& connection) {
  // IMMEDIATE, so that of two programs that start together the second finds the work done.
  BULLA_RETURN_IF_ERROR(connection.Execute("BEGIN IMMEDIATE"));
  absl::Status migrated = MigrateInTransaction(connection);
  if (migrated.ok()) migrated = connection.Execute("COMMIT");
  // The first error is the one to tell.
  if (!migrated.ok() && connection.InTransaction()) connection.Execute("ROLLBACK").IgnoreError();
  return migrated;
}

}  // namespace bulla
