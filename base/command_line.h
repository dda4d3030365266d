#pragma once

// What every program of Bulla does alike at its two ends: the command line that it is given, and
// the output that it leaves.

#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "base/build_info.h"
#include "base/status.h"

namespace CLI {
class App;
}

namespace bulla {

// Exit statuses that mean the same in every program.
inline constexpr int kUsageStatus = 2;   // the command line is wrong
inline constexpr int kOutputStatus = 6;  // what was asked for is done, but its output is lost

// First thing in main: of the standard descriptors those that are closed are opened, so that no
// file and no connection gets a number that output or a log line is written to. What is written to
// them fails, as on a closed one.
void HoldStandardDescriptors();

// The status to end with at once, or nothing: then `app` has what the command line says. Help and
// the version, `--version`, go to `out`; complaints go to `err`, with the help that says what may
// be written instead.
std::optional<int> ParseCommandLine(CLI::App& app, const BuildInfo& build, int argc,
                                    const char* const* argv, std::ostream& out, std::ostream& err);

// The options of a daemon: a few names with a text or a yes each. With these it need not compile
// CLI11, which takes five seconds.
class ProgramOptions {
 public:
  // `examples` stand at the end of --help.
  ProgramOptions(const std::string& about, const std::string& program, const char* examples);
  ~ProgramOptions();
  ProgramOptions(const ProgramOptions&) = delete;
  ProgramOptions& operator=(const ProgramOptions&) = delete;

  struct Rules {
    bool required = false;
    const char* excludes = nullptr;                         // the name of one added before
    std::function<absl::Status(const std::string&)> check;  // its message is shown
  };
  // `name` with its dashes; `value`, which outlives Parse, is the default until then.
  void AddText(const char* name, std::string& value, const char* help, const Rules& rules);
  void AddText(const char* name, std::string& value, const char* help);
  void AddSwitch(const char* name, bool& value, const char* help);

  // As ParseCommandLine.
  std::optional<int> Parse(const BuildInfo& build, int argc, const char* const* argv,
                           std::ostream& out, std::ostream& err);

 private:
  std::unique_ptr<CLI::App> app_;
};

// Last thing with standard output, where a full disk or a closed pipe is found out. UNAVAILABLE
// when not all of it was written.
absl::Status FlushOutput(std::ostream& out);

// Whether anything may be written to the descriptor, as far as can be known before: it is open for
// writing and, if it is a pipe, somebody reads. UNAVAILABLE says what is wrong.
absl::Status CheckWritable(int fd);

}  // namespace bulla
