#include "store/sqlite_store.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>

#include "base/fd.h"
#include "store/sqlite_connection.h"
#include "store/sqlite_reader.h"
#include "store/sqlite_rows.h"
#include "store/sqlite_schema.h"
#include "store/sqlite_writer.h"

namespace bulla {
namespace {

absl::Status SystemError(const char* what, const std::string& path) {
  return absl::UnavailableError(
      fmt::format("cannot {} {}: {}", what, path, ::strerrordesc_np(errno)));
}

// Blobs are useless without KMS, and still nobody's business: 0600, also for a file that was there
// with more. SQLite gives its log the same mode.
absl::Status MakeFile(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.valid()) return SystemError("open", path);
  if (::fchmod(file.get(), 0600) != 0) return SystemError("restrict", path);
  // A new file survives a power cut only once its directory is on the disk too.
  std::string directory = std::filesystem::path(path).parent_path();
  UniqueFd parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent.valid()) return SystemError("open", directory);
  if (::fsync(parent.get()) != 0) return SystemError("sync", directory);
  return absl::OkStatus();
}

absl::Status WithPath(const absl::Status& status, const std::string& path) {
  if (status.ok()) return status;
  return absl::Status(status.code(), fmt::format("{}: {}", path,
                                                 std::string_view(status.message().data(),
                                                                  status.message().size())));
}

struct Parts {
  std::unique_ptr<SqliteWriter> writer;
  std::unique_ptr<SqliteReaders> readers;
};

absl::StatusOr<Parts> OpenParts(const std::string& path, const SqliteStore::Options& options) {
  BULLA_ASSIGN_OR_RETURN(SqliteConnection writing, SqliteConnection::Open(path));
  BULLA_RETURN_IF_ERROR(MigrateSqliteSchema(writing));
  std::vector<std::unique_ptr<SqliteReader>> readers;
  for (std::size_t i = 0; i < options.readers; ++i) {
    BULLA_ASSIGN_OR_RETURN(SqliteConnection reading, SqliteConnection::Open(path));
    BULLA_ASSIGN_OR_RETURN(std::unique_ptr<SqliteReader> reader,
                           SqliteReader::Create(std::move(reading)));
    readers.push_back(std::move(reader));
  }
  Parts parts;
  BULLA_ASSIGN_OR_RETURN(
      parts.writer,
      SqliteWriter::Start(std::move(writing), options.write_queue_max, options.batch_max));
  parts.readers = std::make_unique<SqliteReaders>(std::move(readers), options.read_queue_max);
  return parts;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(Options options) {
  if (options.path.empty()) return absl::InvalidArgumentError("store: the path is empty");
  // Absolute, so that no name has a meaning of its own to SQLite, as ":memory:" has.
  std::string path = std::filesystem::absolute(options.path).lexically_normal();
  BULLA_RETURN_IF_ERROR(MakeFile(path));
  absl::StatusOr<Parts> parts = OpenParts(path, options);
  if (!parts.ok()) return WithPath(parts.status(), path);
  return std::unique_ptr<SqliteStore>(
      new SqliteStore(std::move(parts->writer), std::move(parts->readers)));
}

SqliteStore::SqliteStore(std::unique_ptr<SqliteWriter> writer,
                         std::unique_ptr<SqliteReaders> readers)
    : writer_(std::move(writer)), readers_(std::move(readers)) {}

SqliteStore::~SqliteStore() { Close(); }

void SqliteStore::Close() {
  std::call_once(closed_, [this] {
    writer_->CloseBlocking();
    readers_->CloseBlocking();
  });
}

std::int64_t SqliteStore::transactions() const { return writer_->transactions(); }

void SqliteStore::PutDek(DekRow row, std::function<void(absl::Status)> done) {
  if (absl::Status checked = CheckRow(row); !checked.ok()) return done(checked);
  PutDekWrite put{std::move(row), done, {}};
  if (absl::Status taken = writer_->Push(std::move(put)); !taken.ok()) done(taken);
}

void SqliteStore::PutKey(KeyRow row, std::function<void(absl::StatusOr<KeyRow>)> done) {
  if (absl::Status checked = CheckRow(row); !checked.ok()) return done(checked);
  row.created_at = ToStoredPrecision(row.created_at);  // what is answered is what can be read back
  PutKeyWrite put{std::move(row), done, {}};
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

void SqliteStore::FindKeyByIdempotencyKey(
    const std::string& idempotency_key,
    std::function<void(absl::StatusOr<std::optional<KeyRow>>)> done) {
  Read([idempotency_key](
           SqliteReader& reader) { return reader.FindKeyByIdempotencyKey(idempotency_key); },
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
