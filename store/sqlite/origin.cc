#include "store/sqlite/origin.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <set>
#include <string>

#include "base/bytes.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/schema.h"

namespace bulla {
namespace {

// sqlite.org, "Database File Format", 1.3: the head of the file, and where application_id is in it.
constexpr std::string_view kMagic{"SQLite format 3\0", 16};
constexpr std::size_t kHeadBytes = 100;
constexpr std::size_t kApplicationIdAt = 68;

absl::Status NotOurs(const SqliteFile& file, const std::string& what) {
  return absl::FailedPreconditionError(
      fmt::format("{}: {}. Nothing was changed. Name another file in `store`", file.path(), what));
}

absl::StatusOr<std::set<std::string>> TablesOf(SqliteConnection& connection) {
  BULLA_ASSIGN_OR_RETURN(SqliteStatement select,
                         connection.Prepare("SELECT name FROM sqlite_schema WHERE type = 'table'"));
  std::set<std::string> tables;
  SqliteRun run(select);
  while (true) {
    BULLA_ASSIGN_OR_RETURN(bool found, run.Next());
    if (!found) return tables;
    tables.insert(std::string(run.TextAt(0)));
  }
}

bool HasLog(const SqliteFile& file) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(file.real_path() + "-wal", error);
  return !error && bytes > 0;
}

// A program that was killed may have left everything in the log, so where the database itself has
// no tables the log is read too.
absl::Status CheckInside(const SqliteFile& file, bool claimed) {
  BULLA_ASSIGN_OR_RETURN(SqliteConnection look,
                         SqliteConnection::OpenToLook(file.real_path(), false));
  BULLA_ASSIGN_OR_RETURN(std::set<std::string> tables, TablesOf(look));
  if (tables.empty() && HasLog(file)) {
    BULLA_ASSIGN_OR_RETURN(look, SqliteConnection::OpenToLook(file.real_path(), true));
    BULLA_ASSIGN_OR_RETURN(tables, TablesOf(look));
  }
  if (claimed && tables.empty()) return absl::OkStatus();  // we were killed at the first start
  for (const char* table : {"schema_version", "deks", "keys"}) {
    if (!claimed && !tables.contains(table)) {
      return NotOurs(file, "it is the database of another application");
    }
  }
  if (!tables.contains("schema_version")) return absl::OkStatus();
  BULLA_ASSIGN_OR_RETURN(std::int64_t version, ReadSqliteSchemaVersion(look));
  return CheckSqliteSchemaVersion(version);
}

}  // namespace

absl::Status CheckSqliteOrigin(const SqliteFile& file) {
  BULLA_ASSIGN_OR_RETURN(Bytes head, file.ReadHead(kHeadBytes));
  if (head.size() < kHeadBytes || !std::equal(kMagic.begin(), kMagic.end(), AsText(head).begin())) {
    return NotOurs(file, "it is not a database");
  }
  const std::uint32_t application = LoadBigEndian32(head.data() + kApplicationIdAt);
  if (application != 0 && application != kSqliteApplicationId) {
    return NotOurs(file, fmt::format("it is the database of another application (application_id "
                                     "0x{:08x}, want 0x{:08x})",
                                     application, kSqliteApplicationId));
  }
  return CheckInside(file, application == kSqliteApplicationId);
}

absl::Status ClaimNewSqliteFile(const SqliteFile& file) {
  BULLA_ASSIGN_OR_RETURN(SqliteConnection claiming, SqliteConnection::OpenAsItIs(file.real_path()));
  return claiming.Execute(fmt::format("PRAGMA application_id = {}", kSqliteApplicationId).c_str());
}

}  // namespace bulla
