#include "base/file.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace {

// What was synced, in order: its path, and the names that were in the test's folder then. Only a
// power cut would show from outside that a sync is missing, so this program has an fsync of its
// own, which notes the call before it makes it.
struct Synced {
  std::string path;
  std::vector<std::string> names;
};
std::string watched_dir;
std::vector<Synced> synced;

}  // namespace

extern "C" int fsync(int fd) {
  if (!watched_dir.empty()) {
    Synced sync{std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd)), {}};
    for (const auto& entry : std::filesystem::directory_iterator(watched_dir)) {
      sync.names.push_back(entry.path().filename());
    }
    synced.push_back(std::move(sync));
  }
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace bulla {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    char name[] = "/tmp/bulla-file-XXXXXX";
    dir_ = ::mkdtemp(name);
  }
  ~FileTest() override { std::filesystem::remove_all(dir_); }
  std::string dir_;
};

TEST_F(FileTest, AFileIsWrittenWholeAndForItsOwnerAlone) {
  std::string path = dir_ + "/ready.json";
  ASSERT_TRUE(WriteFileAtomically(path, "{\"a\": 1}").ok());
  ASSERT_TRUE(WriteFileAtomically(path, "{}").ok());
  EXPECT_EQ(*ReadFile(path, 100), "{}");
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 1) << "nothing beside it";
}

TEST_F(FileTest, AWrittenFileIsDurableAndSoIsItsName) {
  watched_dir = dir_;
  synced.clear();
  ASSERT_TRUE(WriteFileAtomically(dir_ + "/key", "text").ok());
  watched_dir.clear();
  ASSERT_EQ(synced.size(), 2u) << "the file, then the folder";
  EXPECT_EQ(synced[0].path, dir_ + "/key.new");
  EXPECT_THAT(synced[0].names, ElementsAre("key.new")) << "nobody sees it before it is durable";
  EXPECT_EQ(synced[1].path, dir_);
  EXPECT_THAT(synced[1].names, ElementsAre("key")) << "of the name that it has then";
}

TEST_F(FileTest, AModeIsExactAndPartsFollowEachOther) {
  const mode_t umask_before = ::umask(077);
  std::ofstream(dir_ + "/public.new") << "left behind by a killed process";
  const ByteSpan parts[] = {AsBytes("one"), {}, AsBytes(" two")};
  const absl::Status status = WriteFileAtomically(dir_ + "/public", parts, 0644);
  ::umask(umask_before);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(*ReadFile(dir_ + "/public", 100), "one two");
  struct stat info {};
  ASSERT_EQ(::stat((dir_ + "/public").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
}

TEST_F(FileTest, AFailedWriteLeavesNothingBesideWhatWasThere) {
  const std::string path = dir_ + "/file";
  ASSERT_TRUE(WriteFileAtomically(path, "old").ok());
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const struct rlimit four_bytes { 4, before.rlim_max };
  auto* const handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &four_bytes), 0);
  const absl::Status status = WriteFileAtomically(path, "longer");
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  EXPECT_THAT(std::string(status.message()), HasSubstr("(EFBIG)"));
  EXPECT_EQ(*ReadFile(path, 100), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 1);

  std::filesystem::create_directory(dir_ + "/folder");
  EXPECT_EQ(WriteFileAtomically(dir_ + "/folder", "x").code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 2);
}

TEST_F(FileTest, AFailedWriteSaysWhichFile) {
  absl::Status status = WriteFileAtomically(dir_ + "/no/such/folder", "x");
  EXPECT_NE(std::string(status.message()).find(dir_), std::string::npos) << status;
}

TEST_F(FileTest, AFileAtTheLimitIsReadAndOneByteMoreIsNot) {
  std::string path = dir_ + "/file";
  ASSERT_TRUE(WriteFileAtomically(path, std::string(10'000, 'x')).ok());
  EXPECT_EQ(ReadFile(path, 10'000)->size(), 10'000u);
  EXPECT_EQ(ReadFile(path, 9'999).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadFile(path + "x", 10).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(FileTest, AFaultNamesTheFileAndWhatTheSystemSaid) {
  EXPECT_THAT(std::string(ReadFile(dir_ + "/none", 10).status().message()),
              AllOf(HasSubstr(dir_ + "/none"), HasSubstr("(ENOENT)")));
  EXPECT_THAT(std::string(ReadFile(dir_, 10).status().message()),
              AllOf(HasSubstr(dir_), HasSubstr("(EISDIR)")));
  EXPECT_THAT(std::string(WriteFileAtomically(dir_ + "/no/file", "x").message()),
              AllOf(HasSubstr(dir_ + "/no/file"), HasSubstr("(ENOENT)")));
}

TEST_F(FileTest, TheMarkOfAnEditorIsNoPartOfTheText) {
  const std::string path = dir_ + "/text";
  for (const auto& [bytes, text] : {std::pair{"\xef\xbb\xbf{}", "{}"},
                                    {"\xef\xbb\xbf", ""},
                                    {"\xef\xbb", "\xef\xbb"},
                                    {"", ""}}) {
    std::ofstream(path) << bytes;
    EXPECT_EQ(*ReadTextFile(path, 100), text);
  }
  std::ofstream(path) << "\xff\xfe{";
  EXPECT_THAT(std::string(ReadTextFile(path, 100).status().message()), HasSubstr("UTF-16"));
}

}  // namespace
}  // namespace bulla
