// bulla-bench: load on a running Bulla, and what came of it.

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <system_error>
#include <unistd.h>

#include "base/build_info.h"
#include "base/command_line.h"
#include "bench/commands/command_line.h"

int main(int argc, char** argv) {
  bulla::HoldStandardDescriptors();
  std::signal(SIGPIPE, SIG_IGN);  // a service that goes away, and a report that nobody reads
  std::error_code error;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const char* url = std::getenv("BULLA_URL");  // NOLINT(concurrency-mt-unsafe): no threads yet
  bulla::RealClock clock;
  bulla::BenchExit exit = bulla::RunBenchBlocking(argc, argv,
                                                  {.url = url,
                                                   .program_dir = self.parent_path(),
                                                   .out_fd = STDOUT_FILENO,
                                                   .build = bulla::ThisBuild()},
                                                  clock, std::cout, std::cerr);
  return static_cast<int>(exit);
}
