// bulla: the command line.

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <system_error>

#include "cli/command_line.h"

int main(int argc, char** argv) {
  std::error_code error;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  bulla::Surroundings surroundings{
      .url = std::getenv("BULLA_URL"),              // NOLINT(concurrency-mt-unsafe): no threads yet
      .admin_url = std::getenv("BULLA_ADMIN_URL"),  // NOLINT(concurrency-mt-unsafe)
      .program_dir = self.parent_path()};
  bulla::Console console{.out = std::cout, .err = std::cerr, .json = false};
  return static_cast<int>(bulla::RunCommandLine(argc, argv, surroundings, console));
}
