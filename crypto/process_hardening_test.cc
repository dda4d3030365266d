#include "crypto/process_hardening.h"

#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

namespace bulla {
namespace {

[[noreturn]] void HardenAndExit() {
  bool hardened = HardenProcess().ok();
  rlimit core{1, 1};
  ::getrlimit(RLIMIT_CORE, &core);
  bool shut = core.rlim_cur == 0 && core.rlim_max == 0 && ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0;
  ::_exit(hardened && shut ? 0 : 1);
}

// In a child, for what is given up here cannot be had back.
TEST(ProcessHardening, LeavesNoCoreDumpAndNoTracing) {
  EXPECT_EXIT(HardenAndExit(), ::testing::ExitedWithCode(0), "");
}

// VmLck of this process, KiB.
long LockedKib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmLck:", 0) == 0) return std::stol(line.substr(6));
  }
  return -1;
}

TEST(ProcessHardening, AThreadsStackIsLockedExactlyWhenItSaysSo) {
  bool locked = false;
  long locked_kib = 0;
  const long before = LockedKib();
  std::thread([&] {
    locked = LockThreadStack();
    locked_kib = LockedKib() - before;
  }).join();
  EXPECT_EQ(locked, locked_kib >= static_cast<long>(kLockedStackBytes / 1024));
}

}  // namespace
}  // namespace bulla
