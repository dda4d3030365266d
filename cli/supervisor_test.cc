#include "cli/supervisor.h"

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iterator>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json/value.hpp>
#include <poll.h>

#include "base/bytes.h"
#include "base/random.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

constexpr milliseconds kPatience{20'000};

// Small children, as /bin/sh scripts: $0 is the ready file.
constexpr const char* kReadyThenIdle =
    "echo '{\"pid\":'$$'}' >$0.new; mv $0.new $0; exec tail -f /dev/null";
constexpr const char* kDiesAtOnce = "echo 'cannot open the vault'; exit 3";
constexpr const char* kNeverReady = "echo still thinking; exec tail -f /dev/null";

class SupervisorTest : public testing::Test {
 protected:
  SupervisorTest() {
    ByteArray<8> name;
    FillRandom(name);
    folder_ = std::filesystem::temp_directory_path() / ("bulla-test-" + HexEncode(name));
    std::filesystem::create_directories(folder_);
  }
  ~SupervisorTest() override { std::filesystem::remove_all(folder_); }

  ChildSpec Script(const std::string& name, const std::string& script) const {
    std::filesystem::path ready = folder_ / (name + ".json");
    return {.name = name,
            .argv = {"/bin/sh", "-c", script, ready},
            .log_file = folder_ / (name + ".log"),
            .ready_file = ready};
  }
  std::string LogOf(const std::string& name) const {
    std::ifstream file(folder_ / (name + ".log"));
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  std::filesystem::path folder_;
  std::vector<std::string> said_;
};

pid_t PidIn(const boost::json::object& ready) {
  return static_cast<pid_t>(ready.at("pid").as_int64());
}

// A descriptor that becomes readable when the process ends.
UniqueFd PidFd(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

bool EndsWithin(const UniqueFd& pid_fd, milliseconds patience) {
  pollfd poll{.fd = pid_fd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, static_cast<int>(patience.count())) == 1;
}

TEST_F(SupervisorTest, AChildIsReadyWhenItHasWrittenItsFile) {
  Supervisor supervisor([](std::string_view) {});
  ASSERT_TRUE(supervisor.Start(Script("vault", kReadyThenIdle)).ok());
  auto ready = supervisor.AwaitReadyBlocking("vault", kPatience);
  ASSERT_TRUE(ready.ok()) << ready.status();
  EXPECT_EQ(::kill(PidIn(*ready), 0), 0);
}

TEST_F(SupervisorTest, AReadyFileOfAnEarlierRunIsNotBelieved) {
  ChildSpec spec = Script("vault", kNeverReady);
  std::ofstream(spec.ready_file) << "{\"listen\": \"127.0.0.1:1\"}";
  Supervisor supervisor([](std::string_view) {});
  ASSERT_TRUE(supervisor.Start(spec).ok());
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(supervisor.AwaitReadyBlocking("vault", milliseconds(50)).status()));
}

TEST_F(SupervisorTest, ADeathBeforeReadyIsReportedWithTheEndOfTheLog) {
  Supervisor supervisor([](std::string_view) {});
  ASSERT_TRUE(supervisor.Start(Script("vault", kDiesAtOnce)).ok());
  absl::Status status = supervisor.AwaitReadyBlocking("vault", kPatience).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("exit status 3"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot open the vault"));
}

TEST_F(SupervisorTest, AProgramThatDoesNotExistIsReported) {
  Supervisor supervisor([](std::string_view) {});
  ChildSpec spec = Script("vault", "");
  spec.argv[0] = folder_ / "no-such-program";
  ASSERT_TRUE(supervisor.Start(spec).ok());
  absl::Status status = supervisor.AwaitReadyBlocking("vault", kPatience).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr((folder_ / "no-such-program").string() +
                                                       ": No such file or directory (ENOENT)"));
}

TEST_F(SupervisorTest, RunReportsHowAProgramEnded) {
  Supervisor supervisor([](std::string_view) {});
  EXPECT_TRUE(supervisor.RunBlocking(Script("good", "exit 0"), kPatience).ok());
  EXPECT_TRUE(
      absl::IsFailedPrecondition(supervisor.RunBlocking(Script("bad", "exit 1"), kPatience)));
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      supervisor.RunBlocking(Script("slow", kNeverReady), milliseconds(50))));
}

TEST_F(SupervisorTest, ADeadChildIsStartedAgainWithTheArgumentsItGotLater) {
  // The first life ends by itself. The second asks the supervisor's own process to stop.
  Supervisor supervisor([this](std::string_view text) { said_.emplace_back(text); });
  ASSERT_TRUE(supervisor.Start(Script("vault", "exit 7")).ok());
  ChildSpec second = Script("vault", "echo second life; kill -TERM $PPID; exec tail -f /dev/null");
  supervisor.SetArguments("vault", second.argv);
  const pid_t first_life = supervisor.Pids().at("vault");
  pid_t second_life = 0;
  supervisor.SuperviseUntilSignalBlocking([&] { second_life = supervisor.Pids().at("vault"); });
  EXPECT_GT(second_life, 0);
  EXPECT_NE(second_life, first_life);
  supervisor.StopAllBlocking(kPatience);
  EXPECT_THAT(LogOf("vault"), HasSubstr("second life"));
  ASSERT_FALSE(said_.empty());
  EXPECT_THAT(said_.front(), HasSubstr("vault ended (exit status 7)"));
}

TEST_F(SupervisorTest, RepeatedDeathsBeforeReadyWaitLongerEachTime) {
  // Counts its lives in a file; the third asks the supervisor to stop.
  Supervisor supervisor([this](std::string_view text) { said_.emplace_back(text); });
  ASSERT_TRUE(supervisor
                  .Start(Script("vault",
                                "echo life >>$0.lives; [ $(wc -l <$0.lives) -lt 3 ] || kill -TERM "
                                "$PPID; exit 1"))
                  .ok());
  supervisor.SuperviseUntilSignalBlocking([] {});
  ASSERT_GE(said_.size(), 2u);
  EXPECT_THAT(said_[0], HasSubstr("in 200 ms"));
  EXPECT_THAT(said_[1], HasSubstr("in 400 ms"));
}

TEST_F(SupervisorTest, ChildrenAreStoppedTheLastStartedFirst) {
  // The shell waits for a child of its own, which it takes with it.
  std::string note_the_end = "tail -f /dev/null & trap 'echo '$0' >>" +
                             (folder_ / "order").string() +
                             "; kill $!; exit 0' TERM; echo {} >$0.new; mv $0.new $0; wait";
  Supervisor supervisor([](std::string_view) {});
  for (const char* name : {"kms", "gateway"}) {
    ASSERT_TRUE(supervisor.Start(Script(name, note_the_end)).ok());
    ASSERT_TRUE(supervisor.AwaitReadyBlocking(name, kPatience).ok());
  }
  supervisor.StopAllBlocking(kPatience);
  std::ifstream order(folder_ / "order");
  std::string first;
  std::string second;
  ASSERT_TRUE(order >> first >> second);
  EXPECT_THAT(first, HasSubstr("gateway"));
  EXPECT_THAT(second, HasSubstr("kms"));
}

TEST_F(SupervisorTest, AChildThatIgnoresSigtermIsKilledAfterTheGrace) {
  Supervisor supervisor([this](std::string_view text) { said_.emplace_back(text); });
  ASSERT_TRUE(supervisor
                  .Start(Script("stubborn",
                                "trap '' TERM; echo '{\"pid\":'$$'}' >$0.new; mv $0.new $0; "
                                "exec tail -f /dev/null"))
                  .ok());
  auto ready = supervisor.AwaitReadyBlocking("stubborn", kPatience);
  ASSERT_TRUE(ready.ok());
  supervisor.StopAllBlocking(milliseconds(30));
  EXPECT_EQ(::kill(PidIn(*ready), 0), -1);
  EXPECT_EQ(said_.size(), 1u);
}

TEST_F(SupervisorTest, ASignalToStopEndsTheWaitForReady) {
  Supervisor supervisor([](std::string_view) {});
  ASSERT_TRUE(supervisor.Start(Script("vault", "kill -INT $PPID; exec tail -f /dev/null")).ok());
  EXPECT_TRUE(absl::IsCancelled(supervisor.AwaitReadyBlocking("vault", kPatience).status()));
}

TEST_F(SupervisorTest, AChildDiesWithASupervisorThatIsKilled) {
  ChildSpec spec = Script("vault", kReadyThenIdle);
  pid_t middle = ::fork();
  ASSERT_GE(middle, 0);
  if (middle == 0) {
    Supervisor supervisor([](std::string_view) {});
    bool started = supervisor.Start(spec).ok();
    if (started && supervisor.AwaitReadyBlocking("vault", kPatience).ok()) {
      std::ofstream(folder_ / "up") << "up";
      supervisor.SuperviseUntilSignalBlocking([] {});
    }
    ::_exit(1);
  }
  // The ready file holds the grandchild's pid.
  Supervisor watch([](std::string_view) {});
  ChildSpec reader = Script("reader", "until [ -e " + (folder_ / "up").string() +
                                          " ]; do :; done; cp " + spec.ready_file.string() +
                                          " $0.new; mv $0.new $0; exec tail -f /dev/null");
  ASSERT_TRUE(watch.Start(reader).ok());
  auto ready = watch.AwaitReadyBlocking("reader", kPatience);
  ASSERT_TRUE(ready.ok()) << ready.status();
  UniqueFd grandchild = PidFd(PidIn(*ready));
  ASSERT_TRUE(grandchild.valid());

  ::kill(middle, SIGKILL);
  ::waitpid(middle, nullptr, 0);
  EXPECT_TRUE(EndsWithin(grandchild, kPatience));
}

TEST(DescribeEnd, NamesStatusesAndSignals) {
  EXPECT_EQ(DescribeEnd(3 << 8), "exit status 3");
  EXPECT_EQ(DescribeEnd(SIGKILL), "killed by signal 9 (Killed)");
}

TEST_F(SupervisorTest, WhatEarlierRunsLeftInTheLogIsNoReason) {
  Supervisor supervisor([](std::string_view) {});
  std::ofstream(folder_ / "child.log") << "the port is taken\n";
  ASSERT_TRUE(supervisor.Start(Script("child", kDiesAtOnce)).ok());
  absl::Status status = supervisor.AwaitReadyBlocking("child", kPatience).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot open the vault"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("the port is taken")));
}

TEST_F(SupervisorTest, AReadyFileThatMakesNoSenseIsSaidAtOnce) {
  Supervisor supervisor([](std::string_view) {});
  ASSERT_TRUE(supervisor
                  .Start(Script("child",
                                "echo '{\"a\": \"b\"c\"}' >$0.new; mv $0.new $0; "
                                "exec tail -f /dev/null"))
                  .ok());
  absl::Status status = supervisor.AwaitReadyBlocking("child", kPatience).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("child.json"));
}

}  // namespace
}  // namespace bulla
