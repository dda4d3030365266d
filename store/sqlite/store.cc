#include "store/sqlite/store.h"

#include <fmt/format.h>
#include <utility>

#include "base/log.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/file.h"
#include "store/sqlite/keeper.h"
#include "store/sqlite/origin.h"
#include "store/sqlite/reader.h"
#include "store/sqlite/rows.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/writer.h"

namespace bulla {
namespace {

const Clock& MachineClock() {
  static const RealClock kClock;
  return kClock;
}

// A database that is set up and of this version, and what it was before.
struct Opened {
  SqliteConnection writing;
  MigratedSchema schema;
};

absl::StatusOr<Opened> OpenDatabase(const SqliteFile& file, WallTime now) {
  if (file.is_new()) {
    BULLA_RETURN_IF_ERROR(ClaimNewSqliteFile(file));
  } else {
    BULLA_RETURN_IF_ERROR(CheckSqliteOrigin(file));
  }
  Opened opened;
  BULLA_ASSIGN_OR_RETURN(opened.writing, SqliteConnection::Open(file.real_path()));
  BULLA_ASSIGN_OR_RETURN(opened.schema, MigrateSqliteSchema(opened.writing, now));
  opened.writing.LetCloseCheckpoint();
  // So that the database says by itself, without its log, whose it is and of which version.
  if (opened.schema.version_before != SqliteSchemaVersion()) {
    BULLA_RETURN_IF_ERROR(opened.writing.Checkpoint(/*truncate=*/true).status());
  }
  return opened;
}

absl::StatusOr<SqliteConnection> OpenAnother(const SqliteFile& file) {
  BULLA_ASSIGN_OR_RETURN(SqliteConnection another, SqliteConnection::Open(file.real_path()));
  another.LetCloseCheckpoint();
  return another;
}

void Tell(const SqliteFile& file, const MigratedSchema& schema) {
  const std::string id = schema.identity.id.ToString();
  if (schema.version_before == 0) {
    // Where one was expected to be there, somebody has to know.
    LogWarn("store_is_new", {{"path", file.path()}, {"store", id}});
    return;
  }
  LogInfo("store_opened", {{"path", file.path()},
                           {"store", id},
                           {"schema", SqliteSchemaVersion()},
                           {"schema_before", schema.version_before}});
}

}  // namespace

struct SqliteStore::Parts {
  const Clock& clock;
  StoreIdentity identity;
  bool is_new = false;
  std::unique_ptr<SqliteFile> file;
  std::unique_ptr<HealthRecord> health;
  std::unique_ptr<SqliteWriter> writer;
  std::unique_ptr<SqliteReaders> readers;
  std::unique_ptr<SqliteKeeper> keeper;
};

absl::StatusOr<SqliteStore::Parts> SqliteStore::OpenParts(const Options& options) {
  Parts parts{.clock = options.clock != nullptr ? *options.clock : MachineClock()};
  BULLA_ASSIGN_OR_RETURN(SqliteFile file, SqliteFile::FindOrMake(options.path));
  BULLA_ASSIGN_OR_RETURN(Opened opened, OpenDatabase(file, parts.clock.WallNow()));
  parts.identity = opened.schema.identity;
  parts.is_new = opened.schema.version_before == 0;
  std::vector<std::unique_ptr<SqliteReader>> readers;
  for (std::size_t i = 0; i < options.readers; ++i) {
    BULLA_ASSIGN_OR_RETURN(SqliteConnection reading, OpenAnother(file));
    BULLA_ASSIGN_OR_RETURN(std::unique_ptr<SqliteReader> reader,
                           SqliteReader::Create(std::move(reading), options.idempotency_ttl));
    readers.push_back(std::move(reader));
  }
  BULLA_ASSIGN_OR_RETURN(SqliteConnection keeping, OpenAnother(file));
  BULLA_RETURN_IF_ERROR(file.Pin());
  if (opened.writing.HasMoved()) return absl::UnavailableError("it was moved while it was opened");
  Tell(file, opened.schema);

  parts.file = std::make_unique<SqliteFile>(std::move(file));
  parts.health = std::make_unique<HealthRecord>(parts.file->path(), parts.clock);
  BULLA_ASSIGN_OR_RETURN(
      parts.writer,
      SqliteWriter::Start(std::move(opened.writing), *parts.file, *parts.health, parts.clock,
                          {.queue_max = options.write_queue_max,
                           .batch_max = options.batch_max,
                           .idempotency_ttl = options.idempotency_ttl}));
  parts.readers = std::make_unique<SqliteReaders>(std::move(readers), options.read_queue_max);
  parts.keeper = std::make_unique<SqliteKeeper>(
      std::move(keeping), *parts.file, *parts.writer, *parts.health, parts.clock,
      SqliteKeeper::Options{.interval = options.keep_interval,
                            .stalled_after = options.stalled_after});
  return parts;
}

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(const Options& options) {
  if (options.path.empty()) return absl::InvalidArgumentError("store: the path is empty");
  const std::string path = options.path;
  absl::StatusOr<Parts> parts = OpenParts(options);
  if (!parts.ok()) return WithPath(parts.status(), path);
  return std::unique_ptr<SqliteStore>(new SqliteStore(*std::move(parts)));
}

SqliteStore::SqliteStore(Parts parts)
    : clock_(parts.clock),
      identity_(parts.identity),
      is_new_(parts.is_new),
      file_(std::move(parts.file)),
      health_(std::move(parts.health)),
      writer_(std::move(parts.writer)),
      readers_(std::move(parts.readers)),
      keeper_(std::move(parts.keeper)) {}

SqliteStore::~SqliteStore() { Close(); }

void SqliteStore::Close() {
  std::call_once(closed_, [this] {
    keeper_->Stop();
    writer_->CloseBlocking();
    readers_->CloseBlocking();
  });
}

const std::string& SqliteStore::path() const { return file_->path(); }

std::int64_t SqliteStore::transactions() const { return writer_->transactions(); }

void SqliteStore::PutDek(DekRow row, std::function<void(absl::Status)> done) {
  if (absl::Status checked = CheckRow(row); !checked.ok()) return done(checked);
  PutDekWrite put{std::move(row), done, {}};
  if (absl::Status taken = writer_->Push(std::move(put)); !taken.ok()) done(taken);
}

void SqliteStore::PutKey(KeyRow row, std::optional<Idempotency> idempotency,
                         std::function<void(absl::StatusOr<KeyRow>)> done) {
  absl::Status checked = CheckRow(row);
  if (checked.ok() && idempotency) checked = CheckIdempotency(*idempotency);
  if (!checked.ok()) return done(checked);
  row.created_at = ToStoredPrecision(row.created_at);  // what is answered is what can be read back
  PutKeyWrite put{std::move(row), std::move(idempotency), done, {}};
  if (absl::Status taken = writer_->Push(std::move(put)); !taken.ok()) done(taken);
}

template <typename Result, typename Query>
void SqliteStore::Read(Query query, std::function<void(absl::StatusOr<Result>)> done) {
  absl::Status taken = readers_->Push(
      [query = std::move(query), done](SqliteReader& reader) { done(query(reader)); });
  if (!taken.ok()) done(taken);
}

void SqliteStore::FindKey(const KeyId& key_id,
                          std::function<void(absl::StatusOr<std::optional<KeyRow>>)> done) {
  Read([key_id](SqliteReader& reader) { return reader.FindKey(key_id); }, std::move(done));
}

void SqliteStore::FindKeyByIdempotency(
    const Idempotency& idempotency,
    std::function<void(absl::StatusOr<std::optional<KeyRow>>)> done) {
  Read([idempotency, now = clock_.WallNow()](
           SqliteReader& reader) { return reader.FindKeyByIdempotency(idempotency, now); },
       std::move(done));
}

void SqliteStore::FindDek(const DekId& dek_id,
                          std::function<void(absl::StatusOr<std::optional<DekRow>>)> done) {
  Read([dek_id](SqliteReader& reader) { return reader.FindDek(dek_id); }, std::move(done));
}

void SqliteStore::ListDeksInUse(std::size_t limit,
                                std::function<void(absl::StatusOr<std::vector<DekRow>>)> done) {
  Read([limit](SqliteReader& reader) { return reader.ListDeksInUse(limit); }, std::move(done));
}

void SqliteStore::ListKeys(std::optional<KeyId> after, std::size_t limit,
                           std::function<void(absl::StatusOr<std::vector<KeyRow>>)> done) {
  Read([after, limit](SqliteReader& reader) { return reader.ListKeys(after, limit); },
       std::move(done));
}

void SqliteStore::ListKeyChanges(std::int64_t after, std::size_t limit,
                                 std::function<void(absl::StatusOr<std::vector<KeyChange>>)> done) {
  Read([after, limit](SqliteReader& reader) { return reader.ListKeyChanges(after, limit); },
       std::move(done));
}

void SqliteStore::CountKeys(std::function<void(absl::StatusOr<std::int64_t>)> done) {
  Read([](SqliteReader& reader) { return reader.CountKeys(); }, std::move(done));
}

}  // namespace bulla
