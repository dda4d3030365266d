#include "store/sqlite/store.h"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <gtest/gtest.h>
#include <random>
#include <set>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <signal.h>

#include "base/fd.h"
#include "base/random.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/testing.h"

namespace bulla {
namespace {

class SqliteStoreTest : public ::testing::Test {
 protected:
  SqliteStoreTest() { Reopen({}); }

  // Closes the store and opens the same file again.
  void Reopen(SqliteStore::Options options) {
    store_.reset();
    options.path = dir_.File();
    absl::StatusOr<std::unique_ptr<SqliteStore>> opened = SqliteStore::Open(options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  TempDir dir_;
  std::unique_ptr<SqliteStore> store_;
};

TEST_F(SqliteStoreTest, FileAndLogAreTheOwnersAlone) {
  ASSERT_EQ(PutDek(*store_, NewDek()), absl::OkStatus());
  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat status {};
    ASSERT_EQ(::stat((dir_.File() + suffix).c_str(), &status), 0) << suffix;
    EXPECT_EQ(status.st_mode & 0777, 0600u) << suffix;
  }
}

TEST_F(SqliteStoreTest, WritesThatGatherAreOneTransaction) {
  DekRow dek = NewDek();
  ASSERT_EQ(PutDek(*store_, dek), absl::OkStatus());
  HeldWriter held(*store_);
  std::int64_t before = store_->transactions();
  std::vector<std::promise<absl::Status>> results(200);
  for (auto& result : results) {
    store_->PutKey(NewKey(dek), std::nullopt,
                   [&](const auto& row) { result.set_value(row.status()); });
  }
  held.Release();
  for (auto& result : results) EXPECT_EQ(result.get_future().get(), absl::OkStatus());
  EXPECT_EQ(store_->transactions() - before, 1);
  EXPECT_EQ(CountKeys(*store_), 200);
}

TEST_F(SqliteStoreTest, ATransactionTakesAtMostItsShareOfTheQueue) {
  Reopen({.path = {}, .batch_max = 10});
  DekRow dek = NewDek();
  ASSERT_EQ(PutDek(*store_, dek), absl::OkStatus());
  HeldWriter held(*store_);
  std::int64_t before = store_->transactions();
  for (int i = 0; i < 31; ++i) store_->PutKey(NewKey(dek), std::nullopt, [](const auto&) {});
  held.Release();
  store_->Close();
  EXPECT_EQ(store_->transactions() - before, 4);
}

TEST_F(SqliteStoreTest, ARowThatFailsLeavesItsNeighboursAlone) {
  DekRow dek = NewDek();
  ASSERT_EQ(PutDek(*store_, dek), absl::OkStatus());
  KeyRow before = NewKey(dek);
  KeyRow orphan = NewKey(NewDek());
  KeyRow twice = NewKey(dek);
  twice.key_id = before.key_id;
  KeyRow after = NewKey(dek);

  HeldWriter held(*store_);
  std::int64_t transactions = store_->transactions();
  std::vector<std::promise<absl::StatusCode>> codes(4);
  std::size_t i = 0;
  for (const KeyRow& row : {before, orphan, twice, after}) {
    store_->PutKey(row, std::nullopt,
                   [&code = codes[i++]](const auto& put) { code.set_value(put.status().code()); });
  }
  held.Release();
  EXPECT_EQ(codes[0].get_future().get(), absl::StatusCode::kOk);
  EXPECT_EQ(codes[1].get_future().get(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(codes[2].get_future().get(), absl::StatusCode::kInternal);
  EXPECT_EQ(codes[3].get_future().get(), absl::StatusCode::kOk);
  EXPECT_EQ(store_->transactions() - transactions, 1);
  Reopen({});
  ExpectSame(FindKey(*store_, before.key_id).value().value(), before);
  ExpectSame(FindKey(*store_, after.key_id).value().value(), after);
  EXPECT_EQ(CountKeys(*store_), 2);
}

TEST_F(SqliteStoreTest, AFullQueueRefusesAtOnce) {
  Reopen({.path = {}, .write_queue_max = 3});
  DekRow dek = NewDek();
  ASSERT_EQ(PutDek(*store_, dek), absl::OkStatus());
  HeldWriter held(*store_);
  std::atomic<int> written = 0;
  for (int i = 0; i < 3; ++i) {
    store_->PutKey(NewKey(dek), std::nullopt, [&](const auto& row) { written += row.ok(); });
  }
  // Answered although the writer is held: by the caller's own thread.
  EXPECT_EQ(PutKey(*store_, NewKey(dek)).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(PutDek(*store_, NewDek()).code(), absl::StatusCode::kResourceExhausted);
  held.Release();
  store_->Close();
  EXPECT_EQ(written, 3);
}

// What somebody does with a connection of their own.
void Change(const std::string& path, const std::string& sql) {
  SqliteConnection connection = SqliteConnection::Open(path).value();
  ASSERT_EQ(connection.Execute(sql.c_str()), absl::OkStatus()) << sql;
}

std::string WhereKey(const KeyId& id) { return " WHERE key_id = x'" + HexEncode(id.bytes) + "'"; }

TEST_F(SqliteStoreTest, AChangeOfNothingThatMattersIsNotTold) {
  DekRow dek = NewDek();
  KeyRow key = NewKey(dek);
  ASSERT_TRUE(PutDek(*store_, dek).ok());
  ASSERT_TRUE(PutKey(*store_, key).ok());
  Change(dir_.File(), "UPDATE keys SET address = 'other'" + WhereKey(key.key_id));
  EXPECT_TRUE(ListKeyChanges(*store_, 0).empty());
}

TEST_F(SqliteStoreTest, AKeyThatIsPutBackByReplacingItsRowIsTold) {
  DekRow dek = NewDek();
  KeyRow key = NewKey(dek);
  ASSERT_TRUE(PutDek(*store_, dek).ok());
  key.enabled = false;
  ASSERT_TRUE(PutKey(*store_, key).ok());
  EXPECT_EQ(ListKeyChanges(*store_, 0), (std::vector<KeyChange>{{1, key.key_id, false}}));
  Change(dir_.File(),
         "REPLACE INTO keys SELECT key_id, dek_id, blob, public_key, address, created_ms, 1 "
         "FROM keys" +
             WhereKey(key.key_id));
  EXPECT_EQ(ListKeyChanges(*store_, 1), (std::vector<KeyChange>{{2, key.key_id, true}}));
}

TEST(SqliteStore, OpenSaysWhatIsWrongWithAPath) {
  TempDir dir;
  EXPECT_EQ(SqliteStore::Open({.path = ""}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SqliteStore::Open({.path = dir.In("no/such")}).status().code(),
            absl::StatusCode::kUnavailable);
}

// The schema as version 1 had it, and rows as its program wrote them.
constexpr char kVersion1[] = R"sql(
  CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;
  INSERT INTO schema_version VALUES (1);
  CREATE TABLE deks (
    dek_id     BLOB NOT NULL PRIMARY KEY CHECK (length(dek_id) = 16),
    wrapped    BLOB NOT NULL,
    kms_key_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE keys (
    key_id          BLOB NOT NULL PRIMARY KEY CHECK (length(key_id) = 16),
    dek_id          BLOB NOT NULL REFERENCES deks (dek_id),
    blob            BLOB NOT NULL,
    public_key      BLOB NOT NULL CHECK (length(public_key) = 33),
    address         TEXT NOT NULL,
    created_ms      INTEGER NOT NULL,
    enabled         INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    idempotency_key TEXT UNIQUE
  ) STRICT, WITHOUT ROWID;
  INSERT INTO deks VALUES (x'd0000000000000000000000000000000', x'01', 'arn', 1700000000000);
  INSERT INTO keys VALUES (x'c0000000000000000000000000000000',
    x'd0000000000000000000000000000000', x'0203',
    x'020000000000000000000000000000000000000000000000000000000000000000', '0xab', 1700000000007,
    1, 'order 1');
)sql";

TEST(SqliteSchema, VersionOneIsBroughtUpToDateWithItsRows) {
  TempDir dir;
  WriteDatabase(dir.File(), kVersion1);
  std::unique_ptr<SqliteStore> store = SqliteStore::Open({.path = dir.File()}).value();
  std::vector<KeyRow> keys = ListKeys(*store, std::nullopt, 10);
  ASSERT_EQ(keys.size(), 1u);
  EXPECT_EQ(FindKey(*store, keys[0].key_id).value()->blob, (Bytes{2, 3}));
  EXPECT_EQ(OneInteger(dir.File(),
                       "SELECT count(*) FROM idempotency "
                       "WHERE idempotency_key = 'order 1' AND scope = ''"),
            1);
  EXPECT_EQ(ListDeksInUse(*store, 10).size(), 1u);
  store.reset();
  EXPECT_EQ(OneInteger(dir.File(), "SELECT version FROM schema_version"), SqliteSchemaVersion());
  EXPECT_EQ(OneInteger(dir.File(), "SELECT count(*) FROM sqlite_schema WHERE name = 'keys_by_dek'"),
            1);
}

// However it got there, a database has one schema.
TEST(SqliteSchema, ANewDatabaseIsLikeAMigratedOne) {
  TempDir migrated;
  TempDir fresh;
  WriteDatabase(migrated.File(), kVersion1);
  for (const TempDir* dir : {&migrated, &fresh}) {
    EXPECT_TRUE(SqliteStore::Open({.path = dir->File()}).ok());
    EXPECT_TRUE(SqliteStore::Open({.path = dir->File()}).ok()) << "the second time, nothing to do";
  }
  for (const char* count : {"SELECT count(*) FROM sqlite_schema",
                            "SELECT count(*) FROM sqlite_schema WHERE type = 'index'",
                            "SELECT count(*) FROM pragma_table_info('keys')"}) {
    EXPECT_EQ(OneInteger(migrated.File(), count), OneInteger(fresh.File(), count)) << count;
  }
}

TEST(SqliteSchema, KeysThatWereDisabledBeforeChangesWereKeptAreToldToo) {
  TempDir dir;
  WriteDatabase(dir.File(), kVersion1);
  Change(dir.File(), "UPDATE keys SET enabled = 0");
  std::unique_ptr<SqliteStore> store = SqliteStore::Open({.path = dir.File()}).value();
  std::vector<KeyChange> changes = ListKeyChanges(*store, 0);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_FALSE(changes[0].enabled);
}

// The process that is killed: keeps 50 puts under way and writes the id of each acknowledged key to
// the pipe, 16 bytes in one write(2), before anything else happens to it.
class DyingCaller {
 public:
  DyingCaller(KeyStore& store, const DekRow& dek, int pipe)
      : store_(store), dek_(dek), pipe_(pipe) {}

  [[noreturn]] void RunForever() {
    for (int i = 0; i < 50; ++i) PutNext();
    while (true) ::pause();
  }

 private:
  void PutNext() {
    store_.PutKey(NewKey(dek_), std::nullopt, [this](const absl::StatusOr<KeyRow>& row) {
      if (!row.ok()) ::_exit(1);
      if (::write(pipe_, row->key_id.bytes.data(), KeyId::kBytes) != KeyId::kBytes) ::_exit(2);
      PutNext();
    });
  }

  KeyStore& store_;
  const DekRow& dek_;
  const int pipe_;
};

[[noreturn]] void BeTheDyingProcess(const std::string& path, const DekRow& dek, int pipe) {
  std::unique_ptr<SqliteStore> store = SqliteStore::Open({.path = path}).value();
  if (!PutDek(*store, dek).ok()) ::_exit(3);
  DyingCaller(*store, dek, pipe).RunForever();
}

// Kills a child after it acknowledged `acknowledgements` keys, and returns all that it did.
std::vector<KeyId> KillMidWrite(const std::string& path, const DekRow& dek,
                                std::size_t acknowledgements) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  UniqueFd reading(ends[0]);
  pid_t child = ::fork();
  if (child == 0) BeTheDyingProcess(path, dek, ends[1]);
  ::close(ends[1]);
  std::vector<KeyId> acknowledged;
  KeyId id;
  while (::read(reading.get(), id.bytes.data(), KeyId::kBytes) == KeyId::kBytes) {
    acknowledged.push_back(id);
    if (acknowledged.size() == acknowledgements) ::kill(child, SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << status;
  return acknowledged;
}

TEST(SqliteStore, AKilledProcessLosesNothingThatItAcknowledged) {
  const char* seed_text = std::getenv("BULLA_TEST_SEED");
  std::uint64_t seed = seed_text ? std::strtoull(seed_text, nullptr, 10) : RandomUint64();
  SCOPED_TRACE("BULLA_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  TempDir dir;
  DekRow dek = NewDek();
  std::set<KeyId> acknowledged;
  for (int round = 0; round < 20; ++round) {
    for (const KeyId& id : KillMidWrite(dir.File(), dek, 1 + random() % 400)) {
      acknowledged.insert(id);
    }
    std::unique_ptr<SqliteStore> store = SqliteStore::Open({.path = dir.File()}).value();
    for (const KeyId& id : acknowledged) {
      ASSERT_TRUE(FindKey(*store, id).value().has_value()) << id.ToString() << ", round " << round;
    }
  }
}

}  // namespace
}  // namespace bulla
