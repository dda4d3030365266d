// bulla-bench: load on a running Bulla, and what came of it.

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <system_error>

#include "bench/command_line.h"

int main(int argc, char** argv) {
  std::error_code error;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const char* url = std::getenv("BULLA_URL");  // NOLINT(concurrency-mt-unsafe): no threads yet
  bulla::RealClock clock;
  bulla::BenchExit exit = bulla::RunBenchBlocking(
      argc, argv, {.url = url, .program_dir = self.parent_path()}, clock, std::cout, std::cerr);
  return static_cast<int>(exit);
}
