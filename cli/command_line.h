#pragma once

// The command line of `bulla`: which command, with which options.

#include <filesystem>

#include "base/build_info.h"
#include "cli/console.h"

namespace bulla {

// What a command needs of its surroundings, so that a test can give others.
struct Surroundings {
  const char* url = nullptr;           // $BULLA_URL
  const char* admin_url = nullptr;     // $BULLA_ADMIN_URL
  const char* admin_socket = nullptr;  // $BULLA_ADMIN_SOCKET
  std::filesystem::path program_dir;   // where this program and its siblings are
  BuildInfo build;                     // this program's
};

// Runs the command. `console.json` is set from the command line.
ExitCode RunCommandLine(int argc, const char* const* argv, const Surroundings& surroundings,
                        Console console);

}  // namespace bulla
