#include "store/sqlite/connection.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>

#include <sqlite3.h>

#include "store/health.h"

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

// What a failed write is for lack of. SQLite names a full disk; the rest says the system's errno.
StoreFault FaultOf(int result, int system_error) {
  switch (result & 0xff) {
    case SQLITE_FULL:
      return StoreFault::kFull;
    case SQLITE_READONLY:
      return StoreFault::kReadOnly;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return StoreFault::kLocked;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      return FaultOfErrno(system_error);
    default:
      return StoreFault::kOther;
  }
}

// The errno behind a failure. The connection does not know it when it was a commit that failed; the
// log, which a commit writes to, then does.
int SystemErrorOf(sqlite3* connection) {
  if (const int known = sqlite3_system_errno(connection); known != 0) return known;
  sqlite3_file* log = nullptr;
  int of_log = 0;
  sqlite3_file_control(connection, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
  if (log != nullptr && log->pMethods != nullptr) {
    log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &of_log);
  }
  return of_log;
}

absl::Status ErrorOf(sqlite3* connection) {
  const int result = sqlite3_extended_errcode(connection);
  const int system_error = SystemErrorOf(connection);
  std::string message = fmt::format("sqlite: {}", sqlite3_errmsg(connection));
  const bool of_system = (result & 0xff) == SQLITE_IOERR || (result & 0xff) == SQLITE_CANTOPEN;
  if (of_system && system_error != 0) {
    message += fmt::format(": {}", ::strerrordesc_np(system_error));
  }
  return WithFault(absl::Status(CodeOf(result), message), FaultOf(result, system_error));
}

// A path as a URI's, for the parameters that only those have.
std::string UriOf(const std::string& path) {
  std::string uri = "file:";
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '/' || c == '.' || c == '-' || c == '_';
    uri += plain ? std::string(1, c) : fmt::format("%{:02x}", static_cast<unsigned char>(c));
  }
  return uri;
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

absl::StatusOr<SqliteConnection> SqliteConnection::OpenWith(const std::string& name, int flags) {
  SqliteConnection opened;
  sqlite3* raw = nullptr;
  int result = sqlite3_open_v2(name.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  opened.connection_.reset(raw);
  if (raw == nullptr) return absl::ResourceExhaustedError("sqlite: no memory");
  if (result != SQLITE_OK) return ErrorOf(raw);
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  return opened;
}

// Not created: whoever owns the file makes it, with the mode it must have.
absl::StatusOr<SqliteConnection> SqliteConnection::OpenAsItIs(const std::string& path) {
  return OpenWith(path, SQLITE_OPEN_READWRITE);
}

absl::StatusOr<SqliteConnection> SqliteConnection::OpenToLook(const std::string& path,
                                                              bool with_log) {
  constexpr int kFlags = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
  if (!with_log) return OpenWith(UriOf(path) + "?immutable=1", kFlags);
  // In exclusive mode the index of the log is in memory.
  BULLA_ASSIGN_OR_RETURN(SqliteConnection opened, OpenWith(UriOf(path) + "?vfs=unix-none", kFlags));
  BULLA_RETURN_IF_ERROR(opened.Execute("PRAGMA locking_mode = EXCLUSIVE"));
  return opened;
}

absl::StatusOr<SqliteConnection> SqliteConnection::Open(const std::string& path) {
  BULLA_ASSIGN_OR_RETURN(SqliteConnection opened, OpenAsItIs(path));
  if (sqlite3_db_readonly(opened.connection_.get(), "main") == 1) {
    return WithFault(absl::UnavailableError("the file can be read but not written: see its mode, "
                                            "its owner, and how its file system is mounted"),
                     StoreFault::kReadOnly);
  }
  BULLA_RETURN_IF_ERROR(UseWriteAheadLog(opened));
  // FULL: a commit is on the disk before it is acknowledged. The rest distrusts the file: what its
  // schema could do when it is run, and pages that are not what they should be.
  BULLA_RETURN_IF_ERROR(
      opened.Execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                     "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON"));
  return opened;
}

void SqliteConnection::LetCloseCheckpoint() {
  sqlite3_db_config(connection_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
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

std::int64_t SqliteConnection::rows_changed() const {
  return sqlite3_total_changes64(connection_.get());
}

absl::StatusOr<bool> SqliteConnection::Checkpoint(bool truncate) {
  const int mode = truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
  int in_log = 0;
  int moved = 0;
  const int result = sqlite3_wal_checkpoint_v2(connection_.get(), nullptr, mode, &in_log, &moved);
  if (result == SQLITE_BUSY && !truncate) return false;  // another one is at it
  if (result != SQLITE_OK) return ErrorOf(connection_.get());
  return moved == in_log;
}

bool SqliteConnection::HasMoved() const {
  int moved = 0;
  sqlite3_file_control(connection_.get(), "main", SQLITE_FCNTL_HAS_MOVED, &moved);
  return moved != 0;
}

}  // namespace bulla
