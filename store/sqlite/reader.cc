#include "store/sqlite/reader.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/thread.h"
#include "store/sqlite/rows.h"

namespace bulla {
namespace {

// A list in memory must have an end, whatever the caller asks for. He asks again for the rest.
constexpr std::size_t kListMax = 10000;

std::int64_t Bounded(std::size_t limit) {
  return static_cast<std::int64_t>(std::min(limit, kListMax));
}

// The row there is, or nothing.
template <typename Row>
absl::StatusOr<std::optional<Row>> One(SqliteRun& run,
                                       absl::StatusOr<Row> (*read)(const SqliteRun&)) {
  BULLA_ASSIGN_OR_RETURN(bool found, run.Next());
  if (!found) return std::optional<Row>();
  BULLA_ASSIGN_OR_RETURN(Row row, read(run));
  return std::optional<Row>(std::move(row));
}

template <typename Row>
absl::StatusOr<std::vector<Row>> All(SqliteRun& run,
                                     absl::StatusOr<Row> (*read)(const SqliteRun&)) {
  std::vector<Row> rows;
  while (true) {
    BULLA_ASSIGN_OR_RETURN(bool found, run.Next());
    if (!found) return rows;
    BULLA_ASSIGN_OR_RETURN(Row row, read(run));
    rows.push_back(std::move(row));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteReader>> SqliteReader::Create(
    SqliteConnection connection, std::chrono::milliseconds idempotency_ttl) {
  std::unique_ptr<SqliteReader> reader(new SqliteReader(std::move(connection)));
  BULLA_RETURN_IF_ERROR(reader->connection_.Execute("PRAGMA query_only = ON"));
  BULLA_RETURN_IF_ERROR(reader->PrepareStatements(idempotency_ttl));
  return reader;
}

absl::Status SqliteReader::PrepareStatements(std::chrono::milliseconds idempotency_ttl) {
  BULLA_ASSIGN_OR_RETURN(find_key_, connection_.Prepare(fmt::format(
                                        "SELECT {} FROM keys WHERE key_id = ?", kKeyColumns)));
  BULLA_ASSIGN_OR_RETURN(idempotency_, SqliteIdempotency::Prepare(connection_, idempotency_ttl));
  BULLA_ASSIGN_OR_RETURN(find_dek_, connection_.Prepare(fmt::format(
                                        "SELECT {} FROM deks WHERE dek_id = ?", kDekColumns)));
  BULLA_ASSIGN_OR_RETURN(list_deks_in_use_,
                         connection_.Prepare(fmt::format(
                             "SELECT {} FROM deks "
                             "WHERE EXISTS (SELECT 1 FROM keys WHERE keys.dek_id = deks.dek_id) "
                             "ORDER BY created_ms DESC, dek_id DESC LIMIT ?",
                             kDekColumns)));
  // As kKeyColumns, without the blobs. An empty id is less than every id.
  BULLA_ASSIGN_OR_RETURN(
      list_keys_,
      connection_.Prepare("SELECT key_id, dek_id, x'', public_key, address, created_ms, enabled "
                          "FROM keys WHERE key_id > ? ORDER BY key_id LIMIT ?"));
  BULLA_ASSIGN_OR_RETURN(
      list_key_changes_,
      connection_.Prepare("SELECT sequence, key_changes.key_id, ifnull(enabled, 0) "
                          "FROM key_changes LEFT JOIN keys ON keys.key_id = key_changes.key_id "
                          "WHERE sequence > ? ORDER BY sequence LIMIT ?"));
  BULLA_ASSIGN_OR_RETURN(count_keys_, connection_.Prepare("SELECT count(*) FROM keys"));
  return absl::OkStatus();
}

absl::StatusOr<std::optional<KeyRow>> SqliteReader::FindKey(const KeyId& key_id) {
  SqliteRun run(find_key_);
  return One(run.Bind(key_id.bytes), ReadKeyRow);
}

absl::StatusOr<std::optional<KeyRow>> SqliteReader::FindKeyByIdempotency(
    const Idempotency& idempotency, WallTime now) {
  return idempotency_->Find(idempotency, now);
}

absl::StatusOr<std::optional<DekRow>> SqliteReader::FindDek(const DekId& dek_id) {
  SqliteRun run(find_dek_);
  return One(run.Bind(dek_id.bytes), ReadDekRow);
}

absl::StatusOr<std::vector<DekRow>> SqliteReader::ListDeksInUse(std::size_t limit) {
  SqliteRun run(list_deks_in_use_);
  return All(run.Bind(Bounded(limit)), ReadDekRow);
}

absl::StatusOr<std::vector<KeyRow>> SqliteReader::ListKeys(std::optional<KeyId> after,
                                                           std::size_t limit) {
  SqliteRun run(list_keys_);
  run.Bind(after ? ByteSpan(after->bytes) : ByteSpan()).Bind(Bounded(limit));
  return All(run, ReadKeyRow);
}

absl::StatusOr<std::vector<KeyChange>> SqliteReader::ListKeyChanges(std::int64_t after,
                                                                    std::size_t limit) {
  SqliteRun run(list_key_changes_);
  run.Bind(after).Bind(Bounded(limit));
  return All(run, ReadKeyChange);
}

absl::StatusOr<std::int64_t> SqliteReader::CountKeys() {
  SqliteRun run(count_keys_);
  BULLA_ASSIGN_OR_RETURN(bool found, run.Next());
  return found ? run.IntegerAt(0) : 0;
}

SqliteReaders::SqliteReaders(std::vector<std::unique_ptr<SqliteReader>> readers,
                             std::size_t queue_max)
    : readers_(std::move(readers)), queue_("store: reads", queue_max) {
  for (const std::unique_ptr<SqliteReader>& reader : readers_) {
    threads_.emplace_back([this, raw = reader.get()] { Run(*raw); });
  }
}

SqliteReaders::~SqliteReaders() { CloseBlocking(); }

void SqliteReaders::CloseBlocking() {
  queue_.Close();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void SqliteReaders::Run(SqliteReader& reader) {
  SetThreadName("store-reader");
  while (std::optional<Query> query = queue_.Pop()) (*query)(reader);
}

}  // namespace bulla
