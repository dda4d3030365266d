#pragma once

// The threads that read, each with a connection of its own: in WAL mode they neither wait for the
// writer nor hold it up, and each query sees all that was committed before it began.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/status.h"
#include "store/key_store.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/idempotency.h"

namespace bulla {

// The queries. Belongs to one thread.
class SqliteReader {
 public:
  static absl::StatusOr<std::unique_ptr<SqliteReader>> Create(
      SqliteConnection connection, std::chrono::milliseconds idempotency_ttl);

  absl::StatusOr<std::optional<KeyRow>> FindKey(const KeyId& key_id);
  absl::StatusOr<std::optional<KeyRow>> FindKeyByIdempotency(const Idempotency& idempotency,
                                                             WallTime now);
  absl::StatusOr<std::optional<DekRow>> FindDek(const DekId& dek_id);
  absl::StatusOr<std::vector<DekRow>> ListDeksInUse(std::size_t limit);
  absl::StatusOr<std::vector<KeyRow>> ListKeys(std::optional<KeyId> after, std::size_t limit);
  absl::StatusOr<std::vector<KeyChange>> ListKeyChanges(std::int64_t after, std::size_t limit);
  absl::StatusOr<std::int64_t> CountKeys();

 private:
  explicit SqliteReader(SqliteConnection connection) : connection_(std::move(connection)) {}
  absl::Status PrepareStatements(std::chrono::milliseconds idempotency_ttl);

  SqliteConnection connection_;
  SqliteStatement find_key_;
  std::optional<SqliteIdempotency> idempotency_;  // once prepared
  SqliteStatement find_dek_;
  SqliteStatement list_deks_in_use_;
  SqliteStatement list_keys_;
  SqliteStatement list_key_changes_;
  SqliteStatement count_keys_;
};

// Thread-safe.
class SqliteReaders {
 public:
  using Query = std::function<void(SqliteReader&)>;

  // One thread for each reader.
  SqliteReaders(std::vector<std::unique_ptr<SqliteReader>> readers, std::size_t queue_max);
  ~SqliteReaders();

  // The query is run unless this returns an error.
  absl::Status Push(Query query) { return queue_.Push(std::move(query)); }

  // Answers what was taken, then ends the threads. Called once, from another thread.
  void CloseBlocking();

 private:
  void Run(SqliteReader& reader);

  const std::vector<std::unique_ptr<SqliteReader>> readers_;
  BoundedQueue<Query> queue_;
  std::vector<std::thread> threads_;  // last: everything above outlives them
};

}  // namespace bulla
