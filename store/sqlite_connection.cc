#include "store/sqlite_connection.h"

#include <fmt/format.h>

#include <sqlite3.h>

namespace bulla {
namespace {

// Another process is in the file only by an operator's hand (a backup, a look with the shell).
constexpr int kBusyTimeoutMs = 5000;

absl::StatusCode CodeOf(int result) {
  if (result == SQLITE_CONSTRAINT_FOREIGNKEY) return absl::StatusCode::kFailedPrecondition;
  if (result == SQLITE_CONSTRAINT_PRIMARYKEY || result == SQLITE_CONSTRAINT_UNIQUE) {
    return absl::StatusCode::kAlreadyExists;
  }
  switch (result & 0xff) {  // the primary code of an extended one
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
      return absl::StatusCode::kInvalidArgument;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
      return absl::StatusCode::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::Status ErrorOf(sqlite3* connection) {
  return absl::Status(CodeOf(sqlite3_extended_errcode(connection)),
                      fmt::format("sqlite: {}", sqlite3_errmsg(connection)));
}

absl::Status UseWriteAheadLog(SqliteConnection& connection) {
  BULLA_ASSIGN_OR_RETURN(SqliteStatement pragma, connection.Prepare("PRAGMA journal_mode = WAL"));
  SqliteRun run(pragma);
  BULLA_ASSIGN_OR_RETURN(bool answered, run.Next());
  if (!answered || run.TextAt(0) != "wal") {
    return absl::UnavailableError("sqlite: this file system takes no write-ahead log");
  }
  return absl::OkStatus();
}

}  // namespace

void SqliteStatement::Finalizer::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

SqliteRun::SqliteRun(SqliteStatement& statement) : statement_(statement.statement_.get()) {}

SqliteRun::~SqliteRun() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

SqliteRun& SqliteRun::Bound(int result) {
  if (bind_result_ == SQLITE_OK) bind_result_ = result;
  return *this;
}

SqliteRun& SqliteRun::Bind(ByteSpan blob) {
  // A null pointer would be bound as NULL, whatever its length.
  const void* data = blob.empty() ? "" : static_cast<const void*>(blob.data());
  return Bound(sqlite3_bind_blob64(statement_, ++parameters_, data, blob.size(), SQLITE_TRANSIENT));
}

SqliteRun& SqliteRun::Bind(std::string_view text) {
  const char* data = text.empty() ? "" : text.data();
  return Bound(sqlite3_bind_text64(statement_, ++parameters_, data, text.size(), SQLITE_TRANSIENT,
                                   SQLITE_UTF8));
}

SqliteRun& SqliteRun::Bind(std::int64_t integer) {
  return Bound(sqlite3_bind_int64(statement_, ++parameters_, integer));
}

SqliteRun& SqliteRun::BindNull() { return Bound(sqlite3_bind_null(statement_, ++parameters_)); }

absl::StatusOr<bool> SqliteRun::Next() {
  if (bind_result_ != SQLITE_OK) {
    return absl::Status(CodeOf(bind_result_),
                        fmt::format("sqlite: bind: {}", sqlite3_errstr(bind_result_)));
  }
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return ErrorOf(sqlite3_db_handle(statement_));
  }
}

absl::Status SqliteRun::Finish() { return Next().status(); }

ByteSpan SqliteRun::BlobAt(int column) const {
  auto* data = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement_, column));
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

std::string_view SqliteRun::TextAt(int column) const { return AsText(BlobAt(column)); }

std::int64_t SqliteRun::IntegerAt(int column) const {
  return sqlite3_column_int64(statement_, column);
}

void SqliteConnection::Closer::operator()(sqlite3* connection) const {
  sqlite3_close_v2(connection);
}

absl::StatusOr<SqliteConnection> SqliteConnection::Open(const std::string& path) {
  SqliteConnection opened;
  sqlite3* raw = nullptr;
  // Not created: whoever owns the file makes it, with the mode it must have.
  int result =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  opened.connection_.reset(raw);
  if (raw == nullptr) return absl::ResourceExhaustedError("sqlite: no memory");
  if (result != SQLITE_OK) return ErrorOf(raw);
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  BULLA_RETURN_IF_ERROR(UseWriteAheadLog(opened));
  // FULL: a commit is on the disk before it is acknowledged. The rest distrusts the file: what its
  // schema could do when it is run, and pages that are not what they should be.
  BULLA_RETURN_IF_ERROR(
      opened.Execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                     "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON"));
  return opened;
}

absl::Status SqliteConnection::Execute(const char* sql) {
  if (sqlite3_exec(connection_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return ErrorOf(connection_.get());
  }
  return absl::OkStatus();
}

absl::StatusOr<SqliteStatement> SqliteConnection::Prepare(std::string_view sql) {
  SqliteStatement prepared;
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(connection_.get(), sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK) {
    return ErrorOf(connection_.get());
  }
  prepared.statement_.reset(raw);
  return prepared;
}

bool SqliteConnection::InTransaction() const {
  return sqlite3_get_autocommit(connection_.get()) == 0;
}

}  // namespace bulla
