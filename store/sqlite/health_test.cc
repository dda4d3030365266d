// Which question this answers: does a store that cannot write say so, and why, and is it well again
// by itself?

#include "store/health.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sqlite3.h>

#include "store/sqlite/store.h"
#include "store/sqlite/testing.h"

namespace bulla {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<SqliteStore> OpenLookedAfterOften(const std::string& path) {
  return SqliteStore::Open({.path = path,
                            .keep_interval = std::chrono::milliseconds(20),
                            .stalled_after = std::chrono::milliseconds(200)})
      .value();
}

// A store with a key that can be read whatever becomes of writing.
class Tried {
 public:
  explicit Tried(const std::string& path) : store_(OpenLookedAfterOften(path)) {
    EXPECT_TRUE(PutDek(*store_, dek_).ok());
    first_ = PutKey(*store_, NewKey(dek_)).value().key_id;
  }

  SqliteStore& store() { return *store_; }
  absl::Status Put() { return PutKey(*store_, NewKey(dek_)).status(); }
  void ExpectFault(StoreFault fault) {
    const StoreHealth health = store_->health();
    EXPECT_EQ(health.fault, fault) << StoreFaultName(health.fault) << ": " << health.reason;
    EXPECT_EQ(store_->fault(), health.fault);
    EXPECT_FALSE(health.reason.empty());
    EXPECT_GE(health.failures[static_cast<std::size_t>(fault)], 1u);
    EXPECT_TRUE(FindKey(*store_, first_).value().has_value()) << "reading goes on";
  }
  void ExpectWellAgain() {
    EXPECT_TRUE(AwaitBlocking(kPatience, [&] { return store_->fault() == StoreFault::kNone; }))
        << store_->health().reason;
    EXPECT_TRUE(store_->health().reason.empty());
    EXPECT_EQ(Put(), absl::OkStatus());
  }

 private:
  std::unique_ptr<SqliteStore> store_;
  const DekRow dek_ = NewDek();
  KeyId first_;
};

// A small disk.
class Disk {
 public:
  explicit Disk(const fs::path& path) : path_(path) {
    mounted_ = ::mount("bulla-test", path.c_str(), "tmpfs", 0, "size=1m") == 0;
  }
  ~Disk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  bool BecomeReadOnly() {
    return ::mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }
  void Fill() {
    std::ofstream filler(path_ / "filler", std::ios::binary);
    const std::string chunk(4096, 'x');
    while (filler.write(chunk.data(), static_cast<std::streamsize>(chunk.size())).flush()) {
    }
  }
  void MakeRoom() { fs::remove(path_ / "filler"); }

 private:
  const fs::path path_;
  bool mounted_ = false;
};

TEST(StoreHealth, AFullDiskIsSaidAndIsOverWhenThereIsRoom) {
  TempDir dir;
  Disk disk(dir.path());
  if (!disk.mounted()) GTEST_SKIP() << "mounting needs root";
  Tried tried(dir.File());
  disk.Fill();
  absl::Status put;
  for (int i = 0; i < 1000 && put.ok(); ++i) put = tried.Put();  // what the log has room for
  EXPECT_EQ(put.code(), absl::StatusCode::kUnavailable) << put;
  tried.ExpectFault(StoreFault::kFull);
  disk.MakeRoom();
  tried.ExpectWellAgain();
}

TEST(StoreHealth, AFileThatMayNotGrowIsSaid) {
  TempDir dir;
  Tried tried(dir.File());
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limited = before;
  limited.rlim_cur = fs::file_size(dir.File() + "-wal");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limited), 0);
  absl::Status put;
  for (int i = 0; i < 1000 && put.ok(); ++i) put = tried.Put();
  tried.ExpectFault(StoreFault::kFull);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(put.code(), absl::StatusCode::kUnavailable) << put;
  tried.ExpectWellAgain();
}

// A device that answers every write with one errno.
class FailingWrites {
 public:
  explicit FailingWrites(int error) {
    errno_ = error;
    vfs_ = sqlite3_vfs_find(nullptr);
    original_ = vfs_->xGetSystemCall(vfs_, "pwrite64");
    vfs_->xSetSystemCall(vfs_, "pwrite64", reinterpret_cast<sqlite3_syscall_ptr>(&Write));
  }
  ~FailingWrites() { vfs_->xSetSystemCall(vfs_, "pwrite64", original_); }

 private:
  static ssize_t Write(int, const void*, std::size_t, off_t) {
    errno = errno_;
    return -1;
  }
  static inline std::atomic<int> errno_;
  static inline sqlite3_vfs* vfs_;
  static inline sqlite3_syscall_ptr original_;
};

TEST(StoreHealth, WhatTheDeviceSaysIsSaid) {
  TempDir dir;
  Tried tried(dir.File());
  for (const auto& [error, fault] :
       {std::pair{EIO, StoreFault::kIo}, std::pair{EROFS, StoreFault::kReadOnly},
        std::pair{ENOSPC, StoreFault::kFull}, std::pair{EDQUOT, StoreFault::kFull}}) {
    {
      FailingWrites failing(error);
      EXPECT_EQ(tried.Put().code(), absl::StatusCode::kUnavailable);
      tried.ExpectFault(fault);
    }
    tried.ExpectWellAgain();
  }
}

// Repeating a data key's row writes nothing.
TEST(StoreHealth, WhatWritesNothingProvesNothing) {
  TempDir dir;
  DekRow dek = NewDek();
  Tried tried(dir.File());
  ASSERT_TRUE(PutDek(tried.store(), dek).ok());
  FailingWrites failing(EIO);
  EXPECT_FALSE(tried.Put().ok());
  EXPECT_TRUE(PutDek(tried.store(), dek).ok());
  tried.ExpectFault(StoreFault::kIo);
}

TEST(StoreHealth, AWriteThatDoesNotEndIsSaid) {
  TempDir dir;
  Tried tried(dir.File());
  HeldWriter held(tried.store());
  EXPECT_TRUE(
      AwaitBlocking(kPatience, [&] { return tried.store().fault() == StoreFault::kStalled; }));
  tried.ExpectFault(StoreFault::kStalled);
  held.Release();
  tried.ExpectWellAgain();
}

TEST(StoreHealth, AStoreThatCannotBeWrittenIsNotOpened) {
  TempDir dir;
  Disk disk(dir.path());
  if (!disk.mounted()) GTEST_SKIP() << "mounting needs root";
  OpenLookedAfterOften(dir.File()).reset();
  ASSERT_TRUE(disk.BecomeReadOnly());
  absl::Status refused = SqliteStore::Open({.path = dir.File()}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable) << refused;
  EXPECT_EQ(FaultOf(refused), StoreFault::kReadOnly) << refused;
}

TEST(StoreHealth, EveryFaultHasANameAndASentence) {
  std::set<std::string_view> names;
  for (std::size_t i = 1; i < kStoreFaultCount; ++i) {
    names.insert(StoreFaultName(static_cast<StoreFault>(i)));
    EXPECT_FALSE(StoreFaultForCallers(static_cast<StoreFault>(i)).empty());
  }
  EXPECT_EQ(names.size(), kStoreFaultCount - 1);
}

}  // namespace
}  // namespace bulla
