// Which question this answers: is a file that is not Bulla's refused without a trace, and one that
// is, whichever version made it, taken?

#include "store/sqlite/origin.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <fcntl.h>

#include "base/fd.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/store.h"
#include "store/sqlite/testing.h"

namespace bulla {
namespace {

namespace fs = std::filesystem;

struct Trace {
  mode_t mode;
  std::int64_t changed_ns;  // its content
  std::int64_t size;
  std::string bytes;  // of a regular file

  friend bool operator==(const Trace&, const Trace&) = default;
};

// Everything in a folder, as it is.
std::map<std::string, Trace> TracesIn(const fs::path& folder) {
  std::map<std::string, Trace> traces;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    struct stat status {};
    EXPECT_EQ(::lstat(entry.path().c_str(), &status), 0);
    std::string bytes;
    if (S_ISREG(status.st_mode)) {
      std::ifstream file(entry.path(), std::ios::binary);
      bytes.assign(std::istreambuf_iterator<char>(file), {});
    }
    traces[entry.path().filename()] = {
        status.st_mode, status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec,
        status.st_size, bytes};
  }
  return traces;
}

void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A database that another application made, in its own way.
void WriteForeign(const std::string& path, const char* sql) {
  WriteText(path, "");
  SqliteConnection connection = SqliteConnection::OpenAsItIs(path).value();
  ASSERT_EQ(connection.Execute(sql), absl::OkStatus());
}

std::string WithVersion(int version) {
  return "UPDATE schema_version SET version = " + std::to_string(version);
}

struct Foreign {
  const char* name;
  std::function<void(const TempDir& dir)> make;  // dir.File()
};

const std::vector<Foreign>& Foreigners() {
  static const std::vector<Foreign> kForeigners = {
      {"text", [](const TempDir& dir) { WriteText(dir.File(), std::string(9000, 'x')); }},
      {"a line", [](const TempDir& dir) { WriteText(dir.File(), "#!/bin/sh\n"); }},
      {"the head of a database alone",
       [](const TempDir& dir) { WriteText(dir.File(), std::string("SQLite format 3\0", 16)); }},
      {"another application's",
       [](const TempDir& dir) {
         WriteForeign(dir.File(), "CREATE TABLE keys (a); INSERT INTO keys VALUES (1)");
       }},
      {"another application's with a log",
       [](const TempDir& dir) {
         WriteForeign(dir.File(), "PRAGMA journal_mode = WAL; CREATE TABLE moz_places (a)");
       }},
      {"another application's by its id",
       [](const TempDir& dir) {
         const char* source = std::getenv("BULLA_SOURCE_DIR");
         ASSERT_NE(source, nullptr) << "set BULLA_SOURCE_DIR to the root of the tree";
         fs::copy_file(std::string(source) + "/store/testdata/version_2.db", dir.File());
         SqliteConnection connection = SqliteConnection::OpenAsItIs(dir.File()).value();
         ASSERT_EQ(connection.Execute("PRAGMA application_id = 77"), absl::OkStatus());
         ASSERT_TRUE(connection.Checkpoint(true).value());
       }},
      {"a newer version's",
       [](const TempDir& dir) {
         SqliteStore::Open({.path = dir.File()}).value().reset();
         SqliteConnection connection = SqliteConnection::OpenAsItIs(dir.File()).value();
         ASSERT_EQ(connection.Execute(WithVersion(SqliteSchemaVersion() + 1).c_str()),
                   absl::OkStatus());
         ASSERT_TRUE(connection.Checkpoint(true).value());
       }},
      {"a newer version's with everything in its log",
       [](const TempDir& dir) {
         WriteForeign(
             dir.File(),
             ("PRAGMA application_id = " + std::to_string(kSqliteApplicationId) +
              "; PRAGMA journal_mode = WAL; CREATE TABLE schema_version (version INTEGER); "
              "INSERT INTO schema_version VALUES (" +
              std::to_string(SqliteSchemaVersion() + 1) + ")")
                 .c_str());
       }},
      {"a directory", [](const TempDir& dir) { fs::create_directory(dir.File()); }},
      {"a FIFO", [](const TempDir& dir) { ASSERT_EQ(::mkfifo(dir.File().c_str(), 0644), 0); }},
      {"a symbolic link to a FIFO",
       [](const TempDir& dir) {
         ASSERT_EQ(::mkfifo(dir.In("fifo").c_str(), 0644), 0);
         fs::create_symlink("fifo", dir.File());
       }},
      {"a symbolic link to nothing",
       [](const TempDir& dir) { fs::create_symlink("nothing", dir.File()); }},
      {"a symbolic link to a device",
       [](const TempDir& dir) { fs::create_symlink("/dev/null", dir.File()); }},
      {"a file of the kernel's",
       [](const TempDir& dir) { fs::create_symlink("/proc/self/comm", dir.File()); }},
      {"a socket",
       [](const TempDir& dir) {
         UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
         sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
         std::strncpy(address.sun_path, dir.File().c_str(), sizeof(address.sun_path) - 1);
         ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
       }},
      {"a store with a second name",
       [](const TempDir& dir) {
         SqliteStore::Open({.path = dir.File()}).value().reset();
         fs::create_hard_link(dir.File(), dir.In("second"));
       }},
      {"the log of a database that is gone",
       [](const TempDir& dir) { WriteText(dir.In("bulla.db-wal"), "what may be keys"); }},
      {"the log of a database that was emptied",
       [](const TempDir& dir) {
         WriteText(dir.File(), "");
         WriteText(dir.In("bulla.db-wal"), "what may be keys");
       }},
      {"a log that is none",
       [](const TempDir& dir) {
         SqliteStore::Open({.path = dir.File()}).value().reset();
         ASSERT_EQ(::mkfifo(dir.In("bulla.db-wal").c_str(), 0644), 0);
       }},
  };
  return kForeigners;
}

TEST(SqliteOrigin, WhatIsNotOursIsRefusedAndLeftAsItIs) {
  for (const Foreign& foreign : Foreigners()) {
    SCOPED_TRACE(foreign.name);
    TempDir dir;
    foreign.make(dir);
    const auto before = TracesIn(dir.path());
    absl::Status refused = SqliteStore::Open({.path = dir.File()}).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
    EXPECT_NE(refused.ToString().find(dir.File()), std::string::npos) << refused;
    EXPECT_TRUE(TracesIn(dir.path()) == before) << "something has changed";
  }
}

TEST(SqliteOrigin, ADeviceKeepsItsMode) {
  TempDir dir;
  if (::mknod(dir.File().c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0) {
    GTEST_SKIP() << "making a device needs root";
  }
  ASSERT_EQ(::chmod(dir.File().c_str(), 0666), 0);
  const auto before = TracesIn(dir.path());
  EXPECT_EQ(SqliteStore::Open({.path = dir.File()}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(TracesIn(dir.path()) == before);
}

TEST(SqliteOrigin, AFileWithoutANameIsRefused) {
  TempDir dir;
  UniqueFd file(::open(dir.File().c_str(), O_RDWR | O_CREAT, 0600));
  ASSERT_EQ(::unlink(dir.File().c_str()), 0);
  EXPECT_EQ(
      SqliteStore::Open({.path = "/proc/self/fd/" + std::to_string(file.get())}).status().code(),
      absl::StatusCode::kFailedPrecondition);
}

TEST(SqliteOrigin, ANewerVersionIsNamed) {
  TempDir dir;
  SqliteStore::Open({.path = dir.File()}).value().reset();
  SqliteConnection::Open(dir.File())
      .value()
      .Execute(WithVersion(SqliteSchemaVersion() + 1).c_str())
      .IgnoreError();
  absl::Status refused = SqliteStore::Open({.path = dir.File()}).status();
  EXPECT_NE(refused.ToString().find(std::to_string(SqliteSchemaVersion() + 1)), std::string::npos)
      << refused;
}

TEST(SqliteOrigin, OnlyWhatIsMadeHereIsRestricted) {
  TempDir dir;
  SqliteStore::Open({.path = dir.File()}).value().reset();
  EXPECT_EQ(TracesIn(dir.path()).at("bulla.db").mode & 07777, 0600u);
  ASSERT_EQ(::chmod(dir.File().c_str(), 0640), 0);
  SqliteStore::Open({.path = dir.File()}).value().reset();
  EXPECT_EQ(TracesIn(dir.path()).at("bulla.db").mode & 07777, 0640u);
}

// So that an operator can make the file with the owner and mode that it shall have, and a start
// that was killed can be repeated.
TEST(SqliteOrigin, AnEmptyFileIsTakenForANewStore) {
  TempDir dir;
  WriteText(dir.File(), "");
  ASSERT_EQ(::chmod(dir.File().c_str(), 0660), 0);
  std::unique_ptr<SqliteStore> store = SqliteStore::Open({.path = dir.File()}).value();
  EXPECT_TRUE(store->is_new());
  EXPECT_EQ(TracesIn(dir.path()).at("bulla.db").mode & 07777, 0660u);
}

TEST(SqliteOrigin, AStartThatWasKilledBeforeTheFirstTableIsRepeated) {
  TempDir dir;
  WriteText(dir.File(), "");
  ASSERT_EQ(ClaimNewSqliteFile(SqliteFile::FindOrMake(dir.File()).value()), absl::OkStatus());
  std::unique_ptr<SqliteStore> store = SqliteStore::Open({.path = dir.File()}).value();
  EXPECT_TRUE(store->is_new());
}

TEST(SqliteOrigin, AStoreIsFoundThroughASymbolicLink) {
  TempDir dir;
  fs::create_directory(dir.In("elsewhere"));
  StoreId id = SqliteStore::Open({.path = dir.In("elsewhere/a.db")}).value()->identity().id;
  fs::create_symlink("elsewhere/a.db", dir.File());
  std::unique_ptr<SqliteStore> store = SqliteStore::Open({.path = dir.File()}).value();
  EXPECT_EQ(store->identity().id, id);
  EXPECT_FALSE(store->is_new());
  EXPECT_TRUE(fs::exists(dir.In("elsewhere/a.db-wal"))) << "the log lies beside the file";
}

TEST(SqliteOrigin, AStoreHasOneIdForItsLife) {
  TempDir dir;
  TempDir other;
  StoreId id = SqliteStore::Open({.path = dir.File()}).value()->identity().id;
  EXPECT_EQ(SqliteStore::Open({.path = dir.File()}).value()->identity().id, id);
  EXPECT_NE(SqliteStore::Open({.path = other.File()}).value()->identity().id, id);
}

// Made by bulla-gateway of schema version 2 (commit bcd8f72): five keys, four of them asked for
// under an idempotency key. Once stopped, and once killed, with everything still in the log.
struct OldStore {
  const char* file;
  const char* log;
};

class OldStoreTest : public ::testing::TestWithParam<OldStore> {};

TEST_P(OldStoreTest, IsTakenWithEverythingInIt) {
  const char* source = std::getenv("BULLA_SOURCE_DIR");
  ASSERT_NE(source, nullptr) << "set BULLA_SOURCE_DIR to the root of the tree";
  const fs::path data = fs::path(source) / "store" / "testdata";
  TempDir dir;
  fs::copy_file(data / GetParam().file, dir.File());
  if (GetParam().log != nullptr) fs::copy_file(data / GetParam().log, dir.In("bulla.db-wal"));
  {
    std::unique_ptr<SqliteStore> store =
        SqliteStore::Open({.path = dir.File(), .idempotency_ttl = std::chrono::hours(24 * 36500)})
            .value();
    EXPECT_FALSE(store->is_new());
    EXPECT_EQ(CountKeys(*store), 5);
    EXPECT_EQ(ListDeksInUse(*store, 10).size(), 1u);
    std::optional<KeyRow> again = FindKeyByIdempotency(*store, Order("order-2")).value();
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(again->address, "0x6712519f5aeBb9E8d06d4C380AC338Fb0C51DC65");
    EXPECT_EQ(again->blob.size(), 129u);
    EXPECT_EQ(FindKeyByIdempotency(*store, Order("order-4")).value(), std::nullopt);
    ASSERT_TRUE(PutKey(*store, NewKey(ListDeksInUse(*store, 10)[0])).ok());
  }
  EXPECT_EQ(OneInteger(dir.File(), "PRAGMA application_id"), kSqliteApplicationId);
  EXPECT_EQ(OneInteger(dir.File(), "SELECT count(*) FROM idempotency"), 4);
  EXPECT_EQ(CountKeys(*SqliteStore::Open({.path = dir.File()}).value()), 6);
}

INSTANTIATE_TEST_SUITE_P(
    Version2, OldStoreTest,
    ::testing::Values(OldStore{"version_2.db", nullptr},
                      OldStore{"version_2_killed.db", "version_2_killed.db-wal"}),
    [](const auto& test) { return test.param.log == nullptr ? "Stopped" : "Killed"; });

}  // namespace
}  // namespace bulla
