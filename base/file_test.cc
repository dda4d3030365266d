#include "base/file.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace bulla {
namespace {

using testing::AllOf;
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
