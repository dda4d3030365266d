#pragma once

// The one thread that writes. It takes all that has gathered while the last commit was being synced
// and commits it as one transaction (group commit): the more callers, the more rows an fsync.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "base/status.h"
#include "store/health.h"
#include "store/key_store.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/file.h"
#include "store/sqlite/idempotency.h"

namespace bulla {

// A row to write, and who is told. `result` is the row's own, before the commit.
struct PutDekWrite {
  DekRow row;
  std::function<void(absl::Status)> done;
  absl::Status result;
};
struct PutKeyWrite {
  KeyRow row;  // after it was applied: the row that stands
  std::optional<Idempotency> idempotency;
  std::function<void(absl::StatusOr<KeyRow>)> done;
  absl::Status result;
};
// Changes a row of no meaning: whether anything can be written.
struct ProbeWrite {
  absl::Status result;
};
// Deletes what is remembered of idempotency keys for longer than it should, so many at most.
struct ForgetWrite {
  std::size_t rows_max = 0;
  absl::Status result;
};
using Write = std::variant<PutDekWrite, PutKeyWrite, ProbeWrite, ForgetWrite>;

// Push, Close and the counters are thread-safe; the rest is the thread's own.
class SqliteWriter {
 public:
  struct Options {
    std::size_t queue_max;
    std::size_t batch_max;
    std::chrono::milliseconds idempotency_ttl;
  };

  // Takes a connection to a migrated database and starts the thread. What is shared outlives it.
  static absl::StatusOr<std::unique_ptr<SqliteWriter>> Start(SqliteConnection connection,
                                                             const SqliteFile& file,
                                                             HealthRecord& health,
                                                             const Clock& clock, Options options);
  ~SqliteWriter();

  // The write's `done` is called unless this returns an error.
  absl::Status Push(Write&& write) { return queue_.Push(std::move(write)); }

  // Writes what was taken, ends the thread, and empties the log into the database. Called once,
  // from another thread.
  void CloseBlocking();

  // Committed so far, those that changed nothing left out.
  std::int64_t transactions() const { return transactions_.load(std::memory_order_relaxed); }
  // Since when the writes at hand are being made; nothing while none are.
  std::optional<MonotonicTime> busy_since() const;

 private:
  SqliteWriter(SqliteConnection connection, const SqliteFile& file, HealthRecord& health,
               const Clock& clock, Options options);
  absl::Status PrepareStatements();

  void Run();
  // One transaction. OK: durable, each write with its own result. Error: none of them is.
  absl::Status Commit(std::vector<Write>& batch);
  absl::Status CommitInPlace(std::vector<Write>& batch);
  absl::Status Apply(PutDekWrite& write);
  absl::Status Apply(PutKeyWrite& write);
  absl::Status Apply(ProbeWrite& write);
  absl::Status Apply(ForgetWrite& write);

  SqliteConnection connection_;
  const SqliteFile& file_;
  HealthRecord& health_;
  const Clock& clock_;
  const Options options_;
  SqliteStatement insert_dek_;
  SqliteStatement insert_key_;
  SqliteStatement probe_;
  std::optional<SqliteIdempotency> idempotency_;  // once prepared

  BoundedQueue<Write> queue_;
  std::atomic<std::int64_t> transactions_ = 0;
  std::atomic<MonotonicTime::rep> busy_since_ = 0;  // 0: idle
  std::thread thread_;                              // last: everything above outlives it
};

}  // namespace bulla
