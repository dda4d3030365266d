#pragma once

// The key store in one SQLite file, for one parent: write-ahead log, a sync at every commit, one
// thread that writes and a few that read.

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "store/key_store.h"

namespace bulla {

class SqliteFile;
class SqliteKeeper;
class SqliteReader;
class SqliteReaders;
class SqliteWriter;

// Thread-safe, but Close and destruction: not from a callback, and not while another call is made.
// A full queue is answered with RESOURCE_EXHAUSTED at once. Lists are at most 10,000 rows long.
class SqliteStore final : public KeyStore {
 public:
  struct Options {
    std::string path;  // its directory must exist; the file is made, readable to its owner alone
    // How long an idempotency key is remembered.
    std::chrono::milliseconds idempotency_ttl = std::chrono::hours(24);
    // Rows that wait for the writer. At 10,000 rows a second, which one disk does with group
    // commit, the last of them waits under half a second: longer than that no caller stays.
    std::size_t write_queue_max = 4096;
    // Rows a transaction: beyond this an fsync's share in a row is small, and the first one waits
    // for the last.
    std::size_t batch_max = 256;
    std::size_t read_queue_max = 4096;
    // A lookup takes some 10 microseconds; the second is there for when a list is being read.
    std::size_t readers = 2;
    // Between two looks at the files, two tries to write what could not be written, and two moves
    // of the log into the database: what a copy of the database alone may lack.
    std::chrono::milliseconds keep_interval{1000};
    // A commit takes milliseconds, and no caller stays for five seconds.
    std::chrono::milliseconds stalled_after{3000};
    const Clock* clock = nullptr;  // null: the machine's
  };

  // Opens the file, or makes it, and brings its schema up to date. FAILED_PRECONDITION, with
  // nothing changed, for what is not a key store of this version or an earlier one.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(const Options& options);
  ~SqliteStore() override;

  void PutDek(DekRow row, std::function<void(absl::Status)> done) override;
  void PutKey(KeyRow row, std::optional<Idempotency> idempotency,
              std::function<void(absl::StatusOr<KeyRow>)> done) override;
  void FindKey(const KeyId& key_id,
               std::function<void(absl::StatusOr<std::optional<KeyRow>>)> done) override;
  void FindKeyByIdempotency(
      const Idempotency& idempotency,
      std::function<void(absl::StatusOr<std::optional<KeyRow>>)> done) override;
  void FindDek(const DekId& dek_id,
               std::function<void(absl::StatusOr<std::optional<DekRow>>)> done) override;
  void ListDeksInUse(std::size_t limit,
                     std::function<void(absl::StatusOr<std::vector<DekRow>>)> done) override;
  void ListKeys(std::optional<KeyId> after, std::size_t limit,
                std::function<void(absl::StatusOr<std::vector<KeyRow>>)> done) override;
  void ListKeyChanges(std::int64_t after, std::size_t limit,
                      std::function<void(absl::StatusOr<std::vector<KeyChange>>)> done) override;
  void CountKeys(std::function<void(absl::StatusOr<std::int64_t>)> done) override;
  StoreIdentity identity() const override { return identity_; }
  StoreFault fault() const override { return health_->fault(); }
  StoreHealth health() const override { return health_->health(); }
  void Close() override;

  // Absolute.
  const std::string& path() const;
  // Whether Open() made it: there was nothing before.
  bool is_new() const { return is_new_; }
  // Committed since Open: with group commit fewer than rows.
  std::int64_t transactions() const;

 private:
  struct Parts;
  static absl::StatusOr<Parts> OpenParts(const Options& options);
  explicit SqliteStore(Parts parts);

  template <typename Result, typename Query>
  void Read(Query query, std::function<void(absl::StatusOr<Result>)> done);

  const Clock& clock_;
  const StoreIdentity identity_;
  const bool is_new_;
  // Each uses those above it.
  const std::unique_ptr<SqliteFile> file_;
  const std::unique_ptr<HealthRecord> health_;
  const std::unique_ptr<SqliteWriter> writer_;
  const std::unique_ptr<SqliteReaders> readers_;
  const std::unique_ptr<SqliteKeeper> keeper_;
  std::once_flag closed_;
};

}  // namespace bulla
