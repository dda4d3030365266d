#include "bench/load/progress.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

#include "tests/fakes/fake_clock.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(ProgressText, SaysHowFarHowFastAndHowLongYet) {
  EXPECT_EQ(ProgressText("x", 0, 10, seconds(1)), "x: 0 of 10 (0 %)");
  EXPECT_EQ(ProgressText("x", 250, 1000, seconds(5)), "x: 250 of 1000 (25 %), 50/s, 15 s left");
  EXPECT_EQ(ProgressText("x", 1, 301, seconds(1)), "x: 1 of 301 (0 %), 1/s, 5 min 0 s left");
  EXPECT_EQ(ProgressText("x", 10, 10, seconds(2)), "x: 10 of 10 (100 %), 5/s, took 2 s");
  EXPECT_EQ(ProgressText("x", 7, 0, seconds(1)), "x: 7, 7/s, took 1 s");
}

class ProgressTest : public testing::Test {
 protected:
  // A minute of work in steps of 100 ms.
  std::string AMinute(bool terminal) {
    {
      Progress progress("work", 600, clock_, err_, terminal);
      for (std::uint64_t i = 1; i <= 600; ++i) {
        clock_.Advance(milliseconds(100));
        progress.Show(i);
      }
    }
    return err_.str();
  }

  FakeClock clock_;
  std::ostringstream err_;
};

TEST_F(ProgressTest, AFileGetsALineEveryTenSecondsAndTheLast) {
  const std::string text = AMinute(/*terminal=*/false);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 7) << text;
  EXPECT_EQ(text.find('\r'), text.npos);
  EXPECT_THAT(text, testing::HasSubstr("work: 600 of 600"));
}

TEST_F(ProgressTest, ATerminalHasOneLineThatIsWrittenAgainEachSecond) {
  const std::string text = AMinute(/*terminal=*/true);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 61);
}

TEST_F(ProgressTest, ShortWorkSaysNothing) {
  {
    Progress progress("work", 2, clock_, err_, /*terminal=*/true);
    clock_.Advance(milliseconds(900));
    progress.Show(2);
  }
  EXPECT_EQ(err_.str(), "");
}

}  // namespace
}  // namespace bulla
