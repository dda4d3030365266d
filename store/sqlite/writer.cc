#include "store/sqlite/writer.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/thread.h"
#include "store/sqlite/rows.h"

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

// The store's own writes: their outcome is in its health.
void Tell(ProbeWrite&, const absl::Status&) {}
void Tell(ForgetWrite&, const absl::Status&) {}

}  // namespace

SqliteWriter::SqliteWriter(SqliteConnection connection, const SqliteFile& file,
                           HealthRecord& health, const Clock& clock, Options options)
    : connection_(std::move(connection)),
      file_(file),
      health_(health),
      clock_(clock),
      options_(options),
      queue_("store: writes", options.queue_max) {}

SqliteWriter::~SqliteWriter() { CloseBlocking(); }

absl::StatusOr<std::unique_ptr<SqliteWriter>> SqliteWriter::Start(SqliteConnection connection,
                                                                  const SqliteFile& file,
                                                                  HealthRecord& health,
                                                                  const Clock& clock,
                                                                  Options options) {
  std::unique_ptr<SqliteWriter> writer(
      new SqliteWriter(std::move(connection), file, health, clock, options));
  BULLA_RETURN_IF_ERROR(writer->PrepareStatements());
  writer->thread_ = std::thread([raw = writer.get()] { raw->Run(); });
  return writer;
}

absl::Status SqliteWriter::PrepareStatements() {
  BULLA_ASSIGN_OR_RETURN(
      insert_dek_, connection_.Prepare(fmt::format("INSERT INTO deks ({}) VALUES (?, ?, ?, ?) "
                                                   "ON CONFLICT (dek_id) DO NOTHING",
                                                   kDekColumns)));
  BULLA_ASSIGN_OR_RETURN(insert_key_,
                         connection_.Prepare(fmt::format(
                             "INSERT INTO keys ({}) VALUES (?, ?, ?, ?, ?, ?, ?)", kKeyColumns)));
  BULLA_ASSIGN_OR_RETURN(probe_, connection_.Prepare("UPDATE store SET proved_ms = ?"));
  BULLA_ASSIGN_OR_RETURN(idempotency_,
                         SqliteIdempotency::Prepare(connection_, options_.idempotency_ttl));
  return absl::OkStatus();
}

void SqliteWriter::CloseBlocking() {
  queue_.Close();
  if (!thread_.joinable()) return;
  thread_.join();
  // In vain where the file is not in its place: the log is all that is left then.
  absl::Status emptied = file_.CheckInPlace();
  if (emptied.ok()) emptied = connection_.Checkpoint(/*truncate=*/true).status();
  if (!emptied.ok()) LogWarn("store_log_not_emptied", {{"reason", std::string(emptied.message())}});
}

std::optional<MonotonicTime> SqliteWriter::busy_since() const {
  const MonotonicTime::rep since = busy_since_.load(std::memory_order_relaxed);
  if (since == 0) return std::nullopt;
  return MonotonicTime(MonotonicTime::duration(since));
}

void SqliteWriter::Run() {
  SetThreadName("store-writer");
  while (true) {
    std::vector<Write> batch = queue_.PopUpTo(options_.batch_max);
    if (batch.empty()) return;
    busy_since_.store(clock_.Now().time_since_epoch().count(), std::memory_order_relaxed);
    const std::int64_t changed_before = connection_.rows_changed();
    absl::Status committed = CommitInPlace(batch);
    // Before anybody is told: who is told of a failure asks what it was. A transaction that changed
    // nothing proves nothing.
    if (!committed.ok()) health_.Failed(committed);
    if (committed.ok() && connection_.rows_changed() > changed_before) {
      transactions_.fetch_add(1, std::memory_order_relaxed);
      health_.Succeeded();
    }
    for (Write& write : batch) {
      std::visit([&](auto& put) { Tell(put, committed); }, write);
    }
    busy_since_.store(0, std::memory_order_relaxed);
  }
}

// Looked at before, so that nothing is written where nobody will find it, and after, since what was
// moved meanwhile is not where it will be looked for.
absl::Status SqliteWriter::CommitInPlace(std::vector<Write>& batch) {
  BULLA_RETURN_IF_ERROR(file_.CheckInPlace());
  BULLA_RETURN_IF_ERROR(Commit(batch));
  return file_.CheckInPlace();
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
  return absl::OkStatus();
}

absl::Status SqliteWriter::Apply(PutDekWrite& write) {
  SqliteRun insert(insert_dek_);
  return BindRow(insert, write.row).Finish();
}

absl::Status SqliteWriter::Apply(PutKeyWrite& write) {
  const WallTime now = clock_.WallNow();
  // Look, then insert: nobody else writes between the two.
  if (write.idempotency) {
    BULLA_ASSIGN_OR_RETURN(std::optional<KeyRow> standing,
                           idempotency_->Find(*write.idempotency, now));
    if (standing) {
      write.row = *std::move(standing);
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
  if (absl::IsAlreadyExists(inserted)) {
    return absl::InternalError(fmt::format("key {} is there already", write.row.key_id.Short()));
  }
  if (!inserted.ok() || !write.idempotency) return inserted;
  // As many are forgotten as are remembered, so that their number is bounded however many come.
  BULLA_RETURN_IF_ERROR(idempotency_->Forget(2, now));
  return idempotency_->Remember(*write.idempotency, write.row.key_id, now);
}

absl::Status SqliteWriter::Apply(ProbeWrite&) {
  SqliteRun probe(probe_);
  return probe.Bind(UnixMillis(clock_.WallNow())).Finish();
}

absl::Status SqliteWriter::Apply(ForgetWrite& write) {
  return idempotency_->Forget(write.rows_max, clock_.WallNow());
}

}  // namespace bulla
