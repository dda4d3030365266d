#pragma once

// What the store does by itself, once a second: looks whether its files are in their places, tries
// to write when it could not, moves the log into the database, and forgets old idempotency keys.

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/ticker.h"
#include "store/health.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/file.h"
#include "store/sqlite/writer.h"

namespace bulla {

// Its thread ends with it. What is shared outlives it.
class SqliteKeeper {
 public:
  struct Options {
    // How far a copy of the database alone may lie behind, and how soon the store is well again.
    std::chrono::milliseconds interval;
    // A write that takes longer is one that does not end: no caller stays for it.
    std::chrono::milliseconds stalled_after;
  };

  // Takes a connection of its own: moving the log does not hold up the writer then.
  SqliteKeeper(SqliteConnection connection, const SqliteFile& file, SqliteWriter& writer,
               HealthRecord& health, const Clock& clock, Options options);

  // Returns when its thread is done. Idempotent.
  void Stop() { ticker_.Stop(); }

 private:
  void Tick();
  void CheckHealth();
  void MoveLog();
  void Forget(MonotonicTime now);

  // The thread's own.
  SqliteConnection connection_;
  const SqliteFile& file_;
  SqliteWriter& writer_;
  HealthRecord& health_;
  const Clock& clock_;
  const Options options_;
  std::int64_t transactions_moved_ = -1;
  bool moving_failed_ = false;
  MonotonicTime forget_at_;

  Ticker ticker_;  // last: everything above outlives its thread
};

}  // namespace bulla
