#include "store/sqlite_writer.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/thread.h"
#include "store/sqlite_rows.h"

namespace bulla {
namespace {

void Tell(PutDekWrite& write, const absl::Status& committed) {
  write.done(committed.ok() ? write.result : committed);
}

void Tell(PutKeyWrite& write, const absl::Status& committed) {
  if (!committed.ok()) {
    write.done(committed);
  } else if (!write.result.ok()) {
    write.done(write.result);
  } else {
    write.done(std::move(write.row));
  }
}

}  // namespace

SqliteWriter::SqliteWriter(SqliteConnection connection, std::size_t queue_max,
                           std::size_t batch_max)
    : connection_(std::move(connection)),
      batch_max_(batch_max),
      queue_("store: writes", queue_max) {}

SqliteWriter::~SqliteWriter() { CloseBlocking(); }

absl::StatusOr<std::unique_ptr<SqliteWriter>> SqliteWriter::Start(SqliteConnection connection,
                                                                  std::size_t queue_max,
                                                                  std::size_t batch_max) {
  std::unique_ptr<SqliteWriter> writer(
      new SqliteWriter(std::move(connection), queue_max, batch_max));
  BULLA_RETURN_IF_ERROR(writer->PrepareStatements());
  writer->thread_ = std::thread([raw = writer.get()] { raw->Run(); });
  return writer;
}

absl::Status SqliteWriter::PrepareStatements() {
  BULLA_ASSIGN_OR_RETURN(
      insert_dek_, connection_.Prepare(fmt::format("INSERT INTO deks ({}) VALUES (?, ?, ?, ?) "
                                                   "ON CONFLICT (dek_id) DO NOTHING",
                                                   kDekColumns)));
  BULLA_ASSIGN_OR_RETURN(
      insert_key_, connection_.Prepare(fmt::format(
                       "INSERT INTO keys ({}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", kKeyColumns)));
  BULLA_ASSIGN_OR_RETURN(select_by_idempotency_key_,
                         connection_.Prepare(fmt::format(
                             "SELECT {} FROM keys WHERE idempotency_key = ?", kKeyColumns)));
  return absl::OkStatus();
}

void SqliteWriter::CloseBlocking() {
  queue_.Close();
  if (thread_.joinable()) thread_.join();
}

void SqliteWriter::Run() {
  SetThreadName("store-writer");
  while (true) {
    std::vector<Write> batch = queue_.TakeBlocking(batch_max_);
    if (batch.empty()) return;
    absl::Status committed = Commit(batch);
    if (!committed.ok()) {
      LogError("store_commit_failed", {{"rows", batch.size()}, {"error", committed.ToString()}});
    }
    for (Write& write : batch) {
      std::visit([&](auto& put) { Tell(put, committed); }, write);
    }
  }
}

absl::Status SqliteWriter::Commit(std::vector<Write>& batch) {
  BULLA_RETURN_IF_ERROR(connection_.Execute("BEGIN IMMEDIATE"));
  for (Write& write : batch) {
    absl::Status applied = std::visit([&](auto& put) { return put.result = Apply(put); }, write);
    // A row that breaks a rule is undone alone. When the disk fails, SQLite may have undone all.
    if (!applied.ok() && !connection_.InTransaction()) return applied;
  }
  absl::Status committed = connection_.Execute("COMMIT");
  if (!committed.ok()) {
    if (connection_.InTransaction()) connection_.Execute("ROLLBACK").IgnoreError();
    return committed;
  }
  transactions_.fetch_add(1, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status SqliteWriter::Apply(PutDekWrite& write) {
  SqliteRun insert(insert_dek_);
  return BindRow(insert, write.row).Finish();
}

absl::Status SqliteWriter::Apply(PutKeyWrite& write) {
  // Look, then insert: nobody else writes between the two.
  if (!write.row.idempotency_key.empty()) {
    SqliteRun select(select_by_idempotency_key_);
    BULLA_ASSIGN_OR_RETURN(bool found, select.Bind(write.row.idempotency_key).Next());
    if (found) {
      BULLA_ASSIGN_OR_RETURN(write.row, ReadKeyRow(select));
      return absl::OkStatus();
    }
  }
  SqliteRun insert(insert_key_);
  absl::Status inserted = BindRow(insert, write.row).Finish();
  if (absl::IsFailedPrecondition(inserted)) {
    return absl::FailedPreconditionError(fmt::format("key {}: its DEK {} is not in the store",
                                                     write.row.key_id.Short(),
                                                     write.row.dek_id.Short()));
  }
  return inserted;
}

}  // namespace bulla
