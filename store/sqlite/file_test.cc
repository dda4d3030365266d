// Which question this answers: is anything acknowledged that is not in the file where it will be
// looked for?

#include "store/sqlite/file.h"

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sqlite3.h>

#include "store/sqlite/store.h"
#include "store/sqlite/testing.h"

namespace bulla {
namespace {

namespace fs = std::filesystem;

// A store in a folder of its own, looked after often.
class SqliteFileTest : public ::testing::Test {
 protected:
  SqliteFileTest() {
    fs::create_directory(dir_.In("folder"));
    store_ = Open(path_);
    EXPECT_TRUE(PutDek(*store_, dek_).ok());
    first_ = PutKey(*store_, NewKey(dek_)).value().key_id;
  }

  static std::unique_ptr<SqliteStore> Open(const std::string& path) {
    return SqliteStore::Open({.path = path, .keep_interval = std::chrono::milliseconds(20)})
        .value();
  }
  // What the gateway would tell the caller of a create.
  StoreFault FaultOfAPut() {
    StoreFault fault = StoreFault::kNone;
    absl::StatusOr<KeyRow> put = Await<absl::StatusOr<KeyRow>>([&](auto done) {
      store_->PutKey(NewKey(dek_), std::nullopt, [&, done](absl::StatusOr<KeyRow> row) {
        fault = store_->fault();
        done(std::move(row));
      });
    });
    EXPECT_EQ(put.ok(), fault == StoreFault::kNone) << put.status();
    EXPECT_TRUE(put.ok() || absl::IsUnavailable(put.status())) << put.status();
    return fault;
  }

  TempDir dir_;
  const std::string path_ = dir_.In("folder/bulla.db");
  const std::string aside_ = dir_.In("aside");
  const DekRow dek_ = NewDek();
  std::unique_ptr<SqliteStore> store_;
  KeyId first_;
};

struct Away {
  const char* name;
  std::function<void(const std::string& path, const std::string& aside)> take;
  std::function<void(const std::string& path, const std::string& aside)> put_back;  // may be none
};

const Away kWays[] = {
    {"moved", [](auto& path, auto& aside) { fs::rename(path, aside); },
     [](auto& path, auto& aside) { fs::rename(aside, path); }},
    {"replaced by a copy",
     [](auto& path, auto& aside) {
       fs::rename(path, aside);
       fs::copy_file(aside, path);
     },
     [](auto& path, auto& aside) { fs::rename(aside, path); }},
    {"its folder moved",
     [](auto& path, auto& aside) { fs::rename(fs::path(path).parent_path(), aside); },
     [](auto& path, auto& aside) { fs::rename(aside, fs::path(path).parent_path()); }},
    {"its log moved", [](auto& path, auto& aside) { fs::rename(path + "-wal", aside); },
     [](auto& path, auto& aside) { fs::rename(aside, path + "-wal"); }},
    {"its log replaced",
     [](auto& path, auto& aside) {
       fs::rename(path + "-wal", aside);
       fs::copy_file(aside, path + "-wal");
     },
     [](auto& path, auto& aside) { fs::rename(aside, path + "-wal"); }},
    {"the log's index moved", [](auto& path, auto& aside) { fs::rename(path + "-shm", aside); },
     [](auto& path, auto& aside) { fs::rename(aside, path + "-shm"); }},
    {"removed", [](auto& path, auto&) { fs::remove(path); }, nullptr},
    {"its log removed", [](auto& path, auto&) { fs::remove(path + "-wal"); }, nullptr},
};

class TakenAwayTest : public SqliteFileTest, public ::testing::WithParamInterface<Away> {};

TEST_P(TakenAwayTest, NothingIsAcknowledgedUntilItIsBack) {
  ASSERT_EQ(FaultOfAPut(), StoreFault::kNone);
  GetParam().take(path_, aside_);
  EXPECT_EQ(FaultOfAPut(), StoreFault::kGone);
  EXPECT_NE(store_->health().reason.find(path_), std::string::npos) << store_->health().reason;
  EXPECT_EQ(FaultOfAPut(), StoreFault::kGone) << "also the second time";
  EXPECT_TRUE(FindKey(*store_, first_).value().has_value()) << "what is open can be read";
  if (!GetParam().put_back) return;
  GetParam().put_back(path_, aside_);
  EXPECT_TRUE(AwaitBlocking(kPatience, [&] { return store_->fault() == StoreFault::kNone; }));
  EXPECT_EQ(FaultOfAPut(), StoreFault::kNone);
  store_.reset();
  EXPECT_TRUE(FindKey(*Open(path_), first_).value().has_value());
}

TEST_P(TakenAwayTest, ItIsNoticedThoughNobodyWrites) {
  GetParam().take(path_, aside_);
  EXPECT_TRUE(AwaitBlocking(kPatience, [&] { return store_->fault() == StoreFault::kGone; }));
}

INSTANTIATE_TEST_SUITE_P(Ways, TakenAwayTest, ::testing::ValuesIn(kWays), [](const auto& test) {
  std::string name = test.param.name;
  std::erase_if(name, [](char c) { return c == ' ' || c == '\''; });
  return name;
});

// What SQLite does with what it writes: something else, once, in the middle of a commit.
class DuringTheNextWrite {
 public:
  explicit DuringTheNextWrite(std::function<void()> what) {
    vfs_ = sqlite3_vfs_find(nullptr);
    original_ = vfs_->xGetSystemCall(vfs_, "pwrite64");
    what_ = std::move(what);
    armed_ = true;
    vfs_->xSetSystemCall(vfs_, "pwrite64", reinterpret_cast<sqlite3_syscall_ptr>(&Write));
  }
  ~DuringTheNextWrite() { vfs_->xSetSystemCall(vfs_, "pwrite64", original_); }
  static bool happened() { return !armed_; }

 private:
  static ssize_t Write(int fd, const void* data, std::size_t count, off_t offset) {
    if (armed_.exchange(false)) what_();
    return ::pwrite(fd, data, count, offset);
  }

  static inline sqlite3_vfs* vfs_;
  static inline sqlite3_syscall_ptr original_;
  static inline std::function<void()> what_;
  static inline std::atomic<bool> armed_;
};

TEST_F(SqliteFileTest, AFileThatIsMovedDuringTheCommitIsNoticedBeforeTheAnswer) {
  DuringTheNextWrite move([&] { fs::rename(path_, aside_); });
  EXPECT_EQ(FaultOfAPut(), StoreFault::kGone);
  EXPECT_TRUE(move.happened());
}

TEST_F(SqliteFileTest, ALinkThatLeadsElsewhereNowIsNoticed) {
  const std::string link = dir_.In("link.db");
  store_.reset();
  fs::create_symlink(path_, link);
  store_ = Open(link);
  ASSERT_EQ(FaultOfAPut(), StoreFault::kNone);
  Open(dir_.In("other.db")).reset();
  fs::remove(link);
  fs::create_symlink(dir_.In("other.db"), link);
  EXPECT_EQ(FaultOfAPut(), StoreFault::kGone);
}

TEST_F(SqliteFileTest, ClosingOneThatWasReplacedLeavesTheOtherAlone) {
  fs::rename(dir_.In("folder"), aside_);
  fs::create_directory(dir_.In("folder"));
  std::unique_ptr<SqliteStore> other = Open(path_);
  ASSERT_TRUE(PutDek(*other, dek_).ok());
  KeyId there = PutKey(*other, NewKey(dek_)).value().key_id;
  store_.reset();
  EXPECT_TRUE(fs::exists(path_ + "-wal"));
  ASSERT_TRUE(PutKey(*other, NewKey(dek_)).ok());
  other.reset();
  EXPECT_TRUE(FindKey(*Open(path_), there).value().has_value());
}

// What docs/backup.md says: as long as the process lives, so does what it has open.
TEST_F(SqliteFileTest, ARemovedStoreIsCopiedOutOfTheProcessThatHasItOpen) {
  for (const char* suffix : {"", "-wal", "-shm"}) fs::remove(path_ + suffix);
  EXPECT_EQ(FaultOfAPut(), StoreFault::kGone);
  int copied = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string leads_to = fs::read_symlink(entry.path(), gone);
    for (const std::string& name : {path_, path_ + "-wal"}) {
      if (gone || leads_to != name + " (deleted)") continue;
      std::error_code of_path_alone;  // our own hold on it cannot be read
      copied += fs::copy_file(entry.path(), aside_ + (name == path_ ? "" : "-wal"),
                              fs::copy_options::overwrite_existing, of_path_alone);
    }
  }
  EXPECT_GE(copied, 2);
  EXPECT_TRUE(FindKey(*Open(aside_), first_).value().has_value());
}

}  // namespace
}  // namespace bulla
