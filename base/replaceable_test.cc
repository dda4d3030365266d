// Which question this answers: can a path that somebody mistyped cost a device, a link or a FIFO?

#include "base/replaceable.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <stdlib.h>

#include "base/file.h"

namespace bulla {
namespace {

namespace fs = std::filesystem;

class ReplaceableTest : public ::testing::Test {
 protected:
  ReplaceableTest() {
    std::string pattern = fs::temp_directory_path() / "bulla-file-XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    path_ = dir_ / "file";
  }
  ~ReplaceableTest() override { fs::remove_all(dir_); }

  void ExpectLeftAlone(const fs::path& path) {
    const fs::file_status before = fs::symlink_status(path);
    EXPECT_EQ(WriteFileAtomically(path_, "text").code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(fs::symlink_status(path).type(), before.type());
    EXPECT_EQ(fs::symlink_status(path).permissions(), before.permissions());
  }

  fs::path dir_;
  fs::path path_;
};

TEST_F(ReplaceableTest, ADeviceIsNotReplaced) {
  if (::mknod(path_.c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0) {
    GTEST_SKIP() << "making a device needs root";
  }
  ExpectLeftAlone(path_);
}

TEST_F(ReplaceableTest, ALinkADirectoryAndAFifoAreNotReplaced) {
  fs::create_symlink("/dev/null", path_);
  ExpectLeftAlone(path_);
  fs::remove(path_);
  fs::create_directory(path_);
  ExpectLeftAlone(path_);
  fs::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0644), 0);
  ExpectLeftAlone(path_);
}

// The name that it is written under at first: a FIFO there would hold the program up for ever.
TEST_F(ReplaceableTest, NorIsWhatStandsInTheWayOfTheFirstName) {
  const fs::path first = path_.string() + ".new";
  std::ofstream(dir_ / "other") << "somebody's";
  fs::create_symlink("other", first);
  ExpectLeftAlone(first);
  EXPECT_EQ(fs::file_size(dir_ / "other"), 10u);
  fs::remove(first);
  ASSERT_EQ(::mkfifo(first.c_str(), 0644), 0);
  ExpectLeftAlone(first);
}

TEST_F(ReplaceableTest, AFileIsReplacedAlsoWhenAnEarlierTryWasKilled) {
  std::ofstream(path_) << "old";
  std::ofstream(path_.string() + ".new") << "half of what was";
  ASSERT_EQ(WriteFileAtomically(path_, "text"), absl::OkStatus());
  EXPECT_EQ(fs::file_size(path_), 4u);
}

}  // namespace
}  // namespace bulla
