#pragma once

// What was made under which idempotency key: remembered for a time, and forgotten in steps that
// nobody notices. The writer decides by it, readers look first.

#include <chrono>
#include <cstddef>
#include <optional>

#include "base/clock.h"
#include "base/status.h"
#include "store/key_store.h"
#include "store/sqlite/connection.h"

namespace bulla {

// Belongs to its connection's thread.
class SqliteIdempotency {
 public:
  // What is older than `time_to_live` counts as forgotten, also while its row is still there.
  static absl::StatusOr<SqliteIdempotency> Prepare(SqliteConnection& connection,
                                                   std::chrono::milliseconds time_to_live);

  // The key that stands, or nothing. ALREADY_EXISTS when another request made it.
  absl::StatusOr<std::optional<KeyRow>> Find(const Idempotency& idempotency, WallTime now);
  absl::Status Remember(const Idempotency& idempotency, const KeyId& key_id, WallTime now);
  // Deletes the oldest rows that count as forgotten, `rows_max` at most.
  absl::Status Forget(std::size_t rows_max, WallTime now);

 private:
  explicit SqliteIdempotency(std::chrono::milliseconds time_to_live)
      : time_to_live_(time_to_live) {}
  std::int64_t Horizon(WallTime now) const { return UnixMillis(now - time_to_live_); }

  std::chrono::milliseconds time_to_live_;
  SqliteStatement find_;
  SqliteStatement remember_;
  SqliteStatement forget_;
};

}  // namespace bulla
