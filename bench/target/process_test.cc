#include "bench/target/process.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bulla {
namespace {

TEST(Process, CpuTimeOfThisOneGrowsWithWhatItDoes) {
  absl::StatusOr<Duration> before = CpuTimeOf(::getpid());
  ASSERT_TRUE(before.ok());
  volatile unsigned sum = 0;
  for (unsigned i = 0; i < 1'000'000; ++i) sum = sum + i;
  absl::StatusOr<Duration> after = CpuTimeOf(::getpid());
  ASSERT_TRUE(after.ok());
  EXPECT_GT(*after, *before);
}

TEST(Process, MemoryOfThisOneIsSomeMegabytes) {
  absl::StatusOr<std::uint64_t> bytes = ResidentBytesOf(::getpid());
  ASSERT_TRUE(bytes.ok());
  EXPECT_GT(*bytes, std::uint64_t{1} << 20);
}

TEST(Process, OneThatHasEndedIsNotFound) {
  pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  for (pid_t gone : {child, pid_t{0}, pid_t{-1}}) {
    EXPECT_TRUE(absl::IsNotFound(CpuTimeOf(gone).status())) << gone;
  }
  EXPECT_TRUE(absl::IsNotFound(ResidentBytesOf(child).status()));
}

}  // namespace
}  // namespace bulla
