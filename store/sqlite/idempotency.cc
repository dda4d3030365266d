#include "store/sqlite/idempotency.h"

#include <algorithm>
#include <fmt/format.h>

#include "store/sqlite/rows.h"

namespace bulla {
namespace {

constexpr int kFingerprintColumn = 7;  // after those of a key

}  // namespace

absl::StatusOr<SqliteIdempotency> SqliteIdempotency::Prepare(
    SqliteConnection& connection, std::chrono::milliseconds time_to_live) {
  SqliteIdempotency made(time_to_live);
  // A key that was removed from the store is none that stands.
  BULLA_ASSIGN_OR_RETURN(
      made.find_,
      connection.Prepare(fmt::format(
          "SELECT {}, fingerprint FROM (SELECT key_id AS made, fingerprint FROM idempotency "
          "WHERE scope = ? AND idempotency_key = ? AND created_ms > ?) "
          "JOIN keys ON key_id = made",
          kKeyColumns)));
  // The row of one that counts as forgotten may still be there.
  BULLA_ASSIGN_OR_RETURN(made.remember_,
                         connection.Prepare("REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?)"));
  BULLA_ASSIGN_OR_RETURN(
      made.forget_,
      connection.Prepare(
          "DELETE FROM idempotency WHERE (scope, idempotency_key) IN (SELECT scope, "
          "idempotency_key FROM idempotency WHERE created_ms <= ? ORDER BY created_ms LIMIT ?)"));
  return made;
}

absl::StatusOr<std::optional<KeyRow>> SqliteIdempotency::Find(const Idempotency& idempotency,
                                                              WallTime now) {
  SqliteRun run(find_);
  run.Bind(idempotency.scope).Bind(idempotency.key).Bind(Horizon(now));
  BULLA_ASSIGN_OR_RETURN(bool found, run.Next());
  if (!found) return std::optional<KeyRow>();
  if (run.TextAt(kFingerprintColumn) != idempotency.fingerprint) {
    return absl::AlreadyExistsError("the idempotency key belongs to another request");
  }
  BULLA_ASSIGN_OR_RETURN(KeyRow row, ReadKeyRow(run));
  return std::optional<KeyRow>(std::move(row));
}

absl::Status SqliteIdempotency::Remember(const Idempotency& idempotency, const KeyId& key_id,
                                         WallTime now) {
  SqliteRun run(remember_);
  run.Bind(idempotency.scope)
      .Bind(idempotency.key)
      .Bind(idempotency.fingerprint)
      .Bind(key_id.bytes)
      .Bind(UnixMillis(now));
  return run.Finish();
}

absl::Status SqliteIdempotency::Forget(std::size_t rows_max, WallTime now) {
  SqliteRun run(forget_);
  return run.Bind(Horizon(now)).Bind(static_cast<std::int64_t>(rows_max)).Finish();
}

}  // namespace bulla
