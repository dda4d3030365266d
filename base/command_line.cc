#include "base/command_line.h"

#include <cerrno>
#include <fmt/format.h>
#include <string>
#include <unistd.h>
#include <vector>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <poll.h>

#include "base/errno_text.h"

namespace bulla {
namespace {

absl::Status Unwritable(int error) {
  return absl::UnavailableError(
      fmt::format("standard output cannot be written: {}", ErrnoText(error)));
}

// "bulla enclaves add": the program and the sub-commands that were understood.
std::string CommandOf(const CLI::App& app) {
  const std::vector<CLI::App*> parsed = app.get_subcommands();
  return parsed.empty() ? app.get_name() : app.get_name() + " " + CommandOf(*parsed.front());
}

}  // namespace

void HoldStandardDescriptors() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest number that is free, hence this one; open the wrong way round.
    [[maybe_unused]] int opened =
        ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);  // NOLINT: to be inherited
  }
}

std::optional<int> ParseCommandLine(CLI::App& app, const BuildInfo& build, int argc,
                                    const char* const* argv, std::ostream& out, std::ostream& err) {
  app.set_version_flag("--version", VersionText(app.get_name(), build),
                       "Print version, commit, compiler and signing engine, and exit");
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      const std::string command = CommandOf(app);
      err << fmt::format("{}: {}\n  next: {} --help\n", command, error.what(), command)
          << std::flush;
      return kUsageStatus;
    }
    app.exit(error, out, err);
  }
  absl::Status written = FlushOutput(out);
  if (written.ok()) return 0;
  err << app.get_name() << ": " << written.message() << std::endl;
  return kOutputStatus;
}

ProgramOptions::ProgramOptions(const std::string& about, const std::string& program,
                               const char* examples)
    : app_(std::make_unique<CLI::App>(about, program)) {
  app_->footer(examples);
}

ProgramOptions::~ProgramOptions() = default;

void ProgramOptions::AddText(const char* name, std::string& value, const char* help,
                             const Rules& rules) {
  CLI::Option* option = app_->add_option(name, value, help);
  if (!value.empty()) option->capture_default_str();
  option->required(rules.required);
  if (rules.excludes != nullptr) option->excludes(app_->get_option(rules.excludes));
  if (rules.check) {
    option->check([check = rules.check](const std::string& text) {
      return std::string(check(text).message());  // CLI11 has it so: empty, or what is wrong
    });
  }
}

void ProgramOptions::AddText(const char* name, std::string& value, const char* help) {
  AddText(name, value, help, Rules{});
}

void ProgramOptions::AddSwitch(const char* name, bool& value, const char* help) {
  app_->add_flag(name, value, help);
}

std::optional<int> ProgramOptions::Parse(const BuildInfo& build, int argc, const char* const* argv,
                                         std::ostream& out, std::ostream& err) {
  return ParseCommandLine(*app_, build, argc, argv, out, err);
}

absl::Status FlushOutput(std::ostream& out) {
  errno = 0;
  out.flush();
  if (out) return absl::OkStatus();
  if (errno != 0) return Unwritable(errno);
  // An earlier write failed, and what the system said is gone.
  return absl::UnavailableError("standard output cannot be written: not all of it was taken");
}

absl::Status CheckWritable(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return Unwritable(errno);
  if ((flags & O_ACCMODE) == O_RDONLY) return Unwritable(EBADF);
  pollfd pipe{.fd = fd, .events = POLLOUT, .revents = 0};
  if (::poll(&pipe, 1, 0) == 1 && (pipe.revents & (POLLERR | POLLHUP)) != 0) {
    return Unwritable(EPIPE);
  }
  return absl::OkStatus();
}

}  // namespace bulla
