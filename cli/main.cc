// bulla: the command line.

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <system_error>
#include <unistd.h>

#include "base/build_info.h"
#include "base/command_line.h"
#include "cli/command_line.h"

int main(int argc, char** argv) {
  bulla::HoldStandardDescriptors();
  std::signal(SIGPIPE, SIG_IGN);  // so that what is lost with a pipe can be said
  std::error_code error;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  bulla::Surroundings surroundings{
      .url = std::getenv("BULLA_URL"),              // NOLINT(concurrency-mt-unsafe): no threads yet
      .admin_url = std::getenv("BULLA_ADMIN_URL"),  // NOLINT(concurrency-mt-unsafe)
      .admin_socket = std::getenv("BULLA_ADMIN_SOCKET"),  // NOLINT(concurrency-mt-unsafe)
      .program_dir = self.parent_path(),
      .build = bulla::ThisBuild()};
  bulla::Console console{
      .out = std::cout, .err = std::cerr, .json = false, .out_fd = STDOUT_FILENO};
  return static_cast<int>(bulla::RunCommandLine(argc, argv, surroundings, console));
}
