#include "base/command_line.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fcntl.h>

#include "base/fd.h"

namespace bulla {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::optional<int> Parse(std::vector<const char*> arguments, std::ostream& out, std::ostream& err) {
  CLI::App app("What it is.", "program");
  int number = 0;
  app.add_option("--number", number)->check(CLI::Range(1, 3));
  std::string needed;
  app.add_option("--needed", needed)->required();
  arguments.insert(arguments.begin(), "program");
  return ParseCommandLine(app, {.version = "1.2.3", .commit = "abcdef012345"},
                          static_cast<int>(arguments.size()), arguments.data(), out, err);
}

TEST(ParseCommandLine, EveryWrongCommandLineEndsWithOneStatus) {
  for (const std::vector<const char*>& wrong :
       std::vector<std::vector<const char*>>{{},
                                             {"--needed"},
                                             {"--needed", "x", "--number", "4"},
                                             {"--needed", "x", "--number", "a"},
                                             {"--needed", "x", "--unknown"},
                                             {"--needed", "x", "more"}}) {
    std::ostringstream out;
    std::ostringstream err;
    EXPECT_EQ(Parse(wrong, out, err), kUsageStatus);
    EXPECT_EQ(out.str(), "");
    EXPECT_NE(err.str(), "");
  }
  std::ostringstream ignored;
  EXPECT_EQ(Parse({"--needed", "x", "--number", "3"}, ignored, ignored), std::nullopt);
}

TEST(ParseCommandLine, HelpThatCannotBeWrittenIsNoSuccess) {
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(Parse({"--help"}, out, err), 0);
  EXPECT_THAT(out.str(), HasSubstr("--needed"));
  std::ofstream full("/dev/full");
  EXPECT_EQ(Parse({"--help"}, full, err), kOutputStatus);
  EXPECT_THAT(err.str(), HasSubstr("(ENOSPC)"));
}

TEST(ParseCommandLine, TheVersionIsAskedForWithoutAnythingElse) {
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(Parse({"--version"}, out, err), 0);
  EXPECT_THAT(out.str(), StartsWith("program 1.2.3\ncommit: abcdef012345\n"));
  EXPECT_EQ(err.str(), "");
  std::ofstream full("/dev/full");
  EXPECT_EQ(Parse({"--version"}, full, err), kOutputStatus);
}

TEST(CheckWritable, KnowsWhatCanBeKnown) {
  UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  EXPECT_TRUE(CheckWritable(null.get()).ok());
  UniqueFd read_only(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(CheckWritable(read_only.get()).ok());
  EXPECT_FALSE(CheckWritable(-1).ok());
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  EXPECT_TRUE(CheckWritable(writer.get()).ok());
  reader.Reset();
  EXPECT_FALSE(CheckWritable(writer.get()).ok());
}

TEST(HoldStandardDescriptorsDeathTest, NoFileGetsTheNumberOfAClosedOne) {
  EXPECT_EXIT(
      {
        for (int fd : {0, 1, 2}) ::close(fd);
        HoldStandardDescriptors();
        const int opened = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        const bool fails = ::write(STDOUT_FILENO, "x", 1) < 0 && ::write(STDERR_FILENO, "x", 1) < 0;
        ::_exit(opened > STDERR_FILENO && fails ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace bulla
