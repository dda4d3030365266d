#include "store/sqlite/schema.h"

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
    // 3: which store this is; and what was asked for under an idempotency key moves to a table of
    // its
    // own, where it can be forgotten. Its order of times is what forgetting goes by. Programs of
    // version 2 made keys by one request only, which had no parameters.
    R"sql(
      CREATE TABLE store (
        store_id   BLOB NOT NULL CHECK (length(store_id) = 16),
        created_ms INTEGER NOT NULL,
        proved_ms  INTEGER NOT NULL
      ) STRICT;
      CREATE TABLE idempotency (
        scope           TEXT NOT NULL,
        idempotency_key TEXT NOT NULL,
        fingerprint     TEXT NOT NULL,
        key_id          BLOB NOT NULL CHECK (length(key_id) = 16),
        created_ms      INTEGER NOT NULL,
        PRIMARY KEY (scope, idempotency_key)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX idempotency_by_time ON idempotency (created_ms);
      INSERT INTO idempotency SELECT '', idempotency_key, 'create/1', key_id, created_ms
        FROM keys WHERE idempotency_key IS NOT NULL;
      CREATE TABLE keys_3 (
        key_id     BLOB NOT NULL PRIMARY KEY CHECK (length(key_id) = 16),
        dek_id     BLOB NOT NULL REFERENCES deks (dek_id),
        blob       BLOB NOT NULL,
        public_key BLOB NOT NULL CHECK (length(public_key) = 33),
        address    TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        enabled    INTEGER NOT NULL CHECK (enabled IN (0, 1))
      ) STRICT, WITHOUT ROWID;
      INSERT INTO keys_3
        SELECT key_id, dek_id, blob, public_key, address, created_ms, enabled FROM keys;
      DROP TABLE keys;
      ALTER TABLE keys_3 RENAME TO keys;
      CREATE INDEX keys_by_dek ON keys (dek_id);
    )sql",
    // 4: which keys were enabled, disabled or removed, in the order of the changes, whoever makes
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

absl::Status WriteVersion(SqliteConnection& connection, std::int64_t version) {
  BULLA_RETURN_IF_ERROR(connection.Execute("DELETE FROM schema_version"));
  BULLA_ASSIGN_OR_RETURN(SqliteStatement insert,
                         connection.Prepare("INSERT INTO schema_version VALUES (?)"));
  return SqliteRun(insert).Bind(version).Finish();
}

absl::Status MakeSteps(SqliteConnection& connection, std::int64_t version) {
  if (version == SqliteSchemaVersion()) return absl::OkStatus();
  for (auto step = static_cast<std::size_t>(version); step < std::size(kSteps); ++step) {
    BULLA_RETURN_IF_ERROR(connection.Execute(kSteps[step]));
  }
  BULLA_RETURN_IF_ERROR(
      connection.Execute(fmt::format("PRAGMA application_id = {}", kSqliteApplicationId).c_str()));
  return WriteVersion(connection, SqliteSchemaVersion());
}

// The row of the table `store`, made the first time that it is asked for.
absl::StatusOr<StoreIdentity> Identity(SqliteConnection& connection, WallTime now) {
  BULLA_ASSIGN_OR_RETURN(SqliteStatement select,
                         connection.Prepare("SELECT store_id, created_ms FROM store"));
  {
    SqliteRun run(select);
    BULLA_ASSIGN_OR_RETURN(bool found, run.Next());
    if (found) {
      return StoreIdentity{StoreId::FromBytes(run.BlobAt(0)),
                           WallTime(std::chrono::milliseconds(run.IntegerAt(1)))};
    }
  }
  const StoreIdentity made{StoreId::New(now), now};
  BULLA_ASSIGN_OR_RETURN(SqliteStatement insert,
                         connection.Prepare("INSERT INTO store VALUES (?, ?, ?)"));
  SqliteRun run(insert);
  run.Bind(made.id.bytes).Bind(UnixMillis(now)).Bind(UnixMillis(now));
  BULLA_RETURN_IF_ERROR(run.Finish());
  return made;
}

absl::StatusOr<MigratedSchema> MigrateInTransaction(SqliteConnection& connection, WallTime now) {
  BULLA_RETURN_IF_ERROR(connection.Execute(
      "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT"));
  MigratedSchema migrated;
  BULLA_ASSIGN_OR_RETURN(migrated.version_before, ReadSqliteSchemaVersion(connection));
  BULLA_RETURN_IF_ERROR(CheckSqliteSchemaVersion(migrated.version_before));
  BULLA_RETURN_IF_ERROR(MakeSteps(connection, migrated.version_before));
  BULLA_ASSIGN_OR_RETURN(migrated.identity, Identity(connection, now));
  return migrated;
}

}  // namespace

int SqliteSchemaVersion() { return static_cast<int>(std::size(kSteps)); }

absl::StatusOr<std::int64_t> ReadSqliteSchemaVersion(SqliteConnection& connection) {
  BULLA_ASSIGN_OR_RETURN(SqliteStatement select,
                         connection.Prepare("SELECT version FROM schema_version"));
  SqliteRun run(select);
  BULLA_ASSIGN_OR_RETURN(bool found, run.Next());
  return found ? run.IntegerAt(0) : 0;
}

absl::Status CheckSqliteSchemaVersion(std::int64_t version) {
  if (version >= 0 && version <= SqliteSchemaVersion()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("the database has schema version {}, this program knows 1 to {}: a newer "
                  "program has written to it, so run that one",
                  version, SqliteSchemaVersion()));
}

absl::StatusOr<MigratedSchema> MigrateSqliteSchema(SqliteConnection& connection, WallTime now) {
  // IMMEDIATE, so that of two programs that start together the second finds the work done.
  BULLA_RETURN_IF_ERROR(connection.Execute("BEGIN IMMEDIATE"));
  absl::StatusOr<MigratedSchema> migrated = MigrateInTransaction(connection, now);
  if (migrated.ok()) {
    if (absl::Status committed = connection.Execute("COMMIT"); !committed.ok()) {
      migrated = committed;
    }
  }
  // The first error is the one to tell.
  if (!migrated.ok() && connection.InTransaction()) connection.Execute("ROLLBACK").IgnoreError();
  return migrated;
}

}  // namespace bulla
