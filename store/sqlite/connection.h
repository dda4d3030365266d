#pragma once

// SQLite's C interface with owners and Statuses: a connection, its prepared statements, and one run
// of a statement. Nothing here knows what is stored.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace bulla {

// A prepared statement. Must not outlive its connection, whose thread it belongs to.
class SqliteStatement {
 public:
  SqliteStatement() = default;

 private:
  friend class SqliteConnection;
  friend class SqliteRun;
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
};

// One run of a statement: parameters are bound in order, rows come one after another, and the
// statement is ready for the next run when this one goes out of scope.
class SqliteRun {
 public:
  explicit SqliteRun(SqliteStatement& statement);
  ~SqliteRun();
  SqliteRun(const SqliteRun&) = delete;
  SqliteRun& operator=(const SqliteRun&) = delete;

  // Values are copied. A failed Bind shows in Next.
  SqliteRun& Bind(ByteSpan blob);
  SqliteRun& Bind(std::string_view text);
  SqliteRun& Bind(std::int64_t integer);

  // Whether there is a row (another row).
  absl::StatusOr<bool> Next();
  // For statements that give no rows.
  absl::Status Finish();

  // Columns of the current row, from 0. Spans live until Next or the end.
  ByteSpan BlobAt(int column) const;
  std::string_view TextAt(int column) const;
  std::int64_t IntegerAt(int column) const;

 private:
  SqliteRun& Bound(int result);

  sqlite3_stmt* const statement_;
  int parameters_ = 0;
  int bind_result_ = 0;
};

// Not thread-safe: one thread at a time, together with its statements.
class SqliteConnection {
 public:
  // Opens a database file that exists, and sets it up: write-ahead log, a sync at every commit,
  // foreign keys enforced, five seconds of patience with another process's lock. Errors carry their
  // StoreFault. Closing it leaves the log as it is, until LetCloseCheckpoint().
  static absl::StatusOr<SqliteConnection> Open(const std::string& path);
  // Without setting anything up.
  static absl::StatusOr<SqliteConnection> OpenAsItIs(const std::string& path);
  // To look only: no file is made, changed or locked, so that while somebody writes what is seen
  // may be wrong. Without its log, or with it.
  static absl::StatusOr<SqliteConnection> OpenToLook(const std::string& path, bool with_log);

  // From now on, whoever closes the database last moves its log into it.
  void LetCloseCheckpoint();

  // Runs one or several statements without parameters or results.
  absl::Status Execute(const char* sql);
  absl::StatusOr<SqliteStatement> Prepare(std::string_view sql);

  // SQLite itself rolls back after some errors (disk full, I/O).
  bool InTransaction() const;
  // Rows inserted, changed and deleted since it was opened.
  std::int64_t rows_changed() const;

  // Moves what is in the log into the database, as far as nobody is in the way, and says whether
  // that is all; `truncate` waits for those who are, and empties the log.
  absl::StatusOr<bool> Checkpoint(bool truncate);
  // SQLite's own view of whether the database at its path is the one that is open.
  bool HasMoved() const;

 private:
  struct Closer {
    void operator()(sqlite3* connection) const;
  };
  static absl::StatusOr<SqliteConnection> OpenWith(const std::string& name, int flags);

  std::unique_ptr<sqlite3, Closer> connection_;
};

}  // namespace bulla
