#include "base/daemon.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <signal.h>

namespace bulla {
namespace {

TEST(Daemon, DescriptorsAreAllowedUpToTheHardLimit) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(RaiseDescriptorLimit(), limit.rlim_max);
}

TEST(StopSignalsDeathTest, ASignalIsWaitedForAndNamed) {
  EXPECT_EXIT(
      {
        StopSignals stop;
        ::kill(::getpid(), SIGTERM);
        ::_exit(stop.WaitBlocking() == "SIGTERM" ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(StopSignalsDeathTest, AHangupCallsWhoAskedForItAndDoesNotStop) {
  EXPECT_EXIT(
      {
        int hangups = 0;
        // The kernel hands out signals that wait together with the lowest number first.
        StopSignals stop([&] {
          if (++hangups == 1) ::kill(::getpid(), SIGHUP);
        });
        ::kill(::getpid(), SIGTERM);
        ::kill(::getpid(), SIGHUP);
        ::_exit(stop.WaitBlocking() == "SIGTERM" && hangups == 2 ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

// The signals that nohup, and a shell without job control for a command behind which stands &,
// have ignored.
TEST(StopSignalsDeathTest, WhatWasIgnoredAtTheStartStaysIgnored) {
  for (int ignored : {SIGHUP, SIGINT}) {
    EXPECT_EXIT(
        {
          std::signal(ignored, SIG_IGN);
          bool hangup = false;
          StopSignals stop([&] { hangup = true; });
          ::kill(::getpid(), ignored);
          ::kill(::getpid(), SIGTERM);
          ::_exit(stop.WaitBlocking() == "SIGTERM" && !hangup ? 0 : 1);
        },
        testing::ExitedWithCode(0), "");
  }
}

TEST(StopSignalsDeathTest, AHangupThatNobodyAskedForEndsTheProgram) {
  EXPECT_EXIT(
      {
        StopSignals stop;
        ::kill(::getpid(), SIGHUP);
        stop.WaitBlocking();
      },
      testing::KilledBySignal(SIGHUP), "");
}

}  // namespace
}  // namespace bulla
