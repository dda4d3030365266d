#pragma once

// What a program was built from: for `--version`, logs, status and metrics, so that whoever meets a
// process can find its source.

#include <string>
#include <string_view>

namespace bulla {

class Metrics;

struct BuildInfo {
  std::string_view version = "unknown";  // of the project: 1.2.3
  // 12 hexadecimal digits, "-dirty" behind them when files were changed since; "unknown" where the
  // source came without one.
  std::string_view commit = "unknown";
  std::string_view compiler = "unknown";  // with its version and the kind of build
  std::string_view engine = "unknown";    // the library that signs, and where it is from
};

// Of this program. Only programs have it (bulla_program of cmake/Rooms.cmake): their libraries and
// tests are not built again because a commit was made, so they are handed theirs.
BuildInfo ThisBuild();

// What `--version` prints: "NAME VERSION", then a line for each of the rest.
std::string VersionText(std::string_view program, const BuildInfo& build);

// The metric bulla_build_info: 1, with the rest as labels.
void AddBuildInfo(const BuildInfo& build, Metrics& metrics);

}  // namespace bulla
