#include "crypto/process_hardening.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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

}  // namespace
}  // namespace bulla
