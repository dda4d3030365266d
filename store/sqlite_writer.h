#pragma once

// The one thread that writes. It takes all that has gathered while the last commit was being synced
// and commits it as one transaction (group commit): the more callers, the more rows an fsync.

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "base/status.h"
#include "store/key_store.h"
#include "store/sqlite_connection.h"
#include "store/work_queue.h"

namespace bulla {

// A row to write, and who is told. `result` is the row's own, before the commit.
struct PutDekWrite {
  DekRow row;
  std::function<void(absl::Status)> done;
  absl::Status result;
};
struct PutKeyWrite {
  KeyRow row;  // after it was applied: the row that stands
  std::function<void(absl::StatusOr<KeyRow>)> done;
  absl::Status result;
};
using Write = std::variant<PutDekWrite, PutKeyWrite>;

// Push, Close and transactions are thread-safe; the rest is the thread's own.
class SqliteWriter {
 public:
  // Takes a connection to a migrated database and starts the thread.
  static absl::StatusOr<std::unique_ptr<SqliteWriter>> Start(SqliteConnection connection,
                                                             std::size_t queue_max,
                                                             std::size_t batch_max);
  ~SqliteWriter();

  // The write's `done` is called unless this returns an error.
  absl::Status Push(Write&& write) { return queue_.Push(std::move(write)); }

  // Writes what was taken, then ends the thread. Called once, from another thread.
  void CloseBlocking();

  // Committed so far.
  std::int64_t transactions() const { return transactions_.load(std::memory_order_relaxed); }

 private:
  SqliteWriter(SqliteConnection connection, std::size_t queue_max, std::size_t batch_max);
  absl::Status PrepareStatements();

  void Run();
  // One transaction. OK: durable, each write with its own result. Error: none of them is.
  absl::Status Commit(std::vector<Write>& batch);
  absl::Status Apply(PutDekWrite& write);
  absl::Status Apply(PutKeyWrite& write);

  SqliteConnection connection_;
  SqliteStatement insert_dek_;
  SqliteStatement insert_key_;
  SqliteStatement select_by_idempotency_key_;
  const std::size_t batch_max_;

  WorkQueue<Write> queue_;
  std::atomic<std::int64_t> transactions_ = 0;
  std::thread thread_;  // last: everything above outlives it
};

}  // namespace bulla
