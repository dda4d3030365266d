#include "cli/supervisor.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <fcntl.h>
#include <poll.h>

#include "base/check.h"
#include "base/daemon.h"
#include "base/errno_text.h"
#include "base/exec.h"
#include "base/file.h"

namespace bulla {
namespace {

constexpr std::chrono::milliseconds kReadyPoll{20};
constexpr int kDoublingsMax = 5;               // restarts wait for 3.2 s at most
constexpr std::size_t kReadyBytesMax = 65536;  // a ready file is four addresses
constexpr std::size_t kShownBytesMax = 200;
constexpr std::chrono::seconds kStillWaitingEvery{5};
constexpr std::int64_t kLogTailBytes = 4096;
constexpr int kLogTailLines = 15;

MonotonicTime Now() { return RealClock().Now(); }

sigset_t WatchedSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) {
    if (!IsIgnored(signal)) sigaddset(&set, signal);
  }
  return set;
}

// Between fork and exec, where only async-signal-safe calls are allowed: everything that needs
// memory was made before.
[[noreturn]] void BecomeProgram(char* const* argv, int log_fd, int null_fd, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before the line above took effect
  ::setpgid(0, 0);  // Ctrl-C in the terminal goes to the supervisor, which stops us in order
  ::dup2(null_fd, STDIN_FILENO);
  ::dup2(log_fd, STDOUT_FILENO);
  ::dup2(log_fd, STDERR_FILENO);
  ExecOrExplain(argv, environ);
}

// Nothing while it is not there. It is written whole, so that one that cannot be read is final.
absl::StatusOr<std::optional<boost::json::object>> ReadReadyFile(
    const std::filesystem::path& file) {
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return std::nullopt;
  BULLA_ASSIGN_OR_RETURN(std::string text, ReadFile(file.string(), kReadyBytesMax));
  boost::json::error_code error;
  boost::json::value value = boost::json::parse(text, error);
  if (!error && value.is_object()) return std::move(value.get_object());
  return absl::DataLossError(
      fmt::format("{} is no JSON object: {}", file.string(), text.substr(0, kShownBytesMax)));
}

}  // namespace

std::string DescribeEnd(int wait_status) {
  if (WIFEXITED(wait_status)) return fmt::format("exit status {}", WEXITSTATUS(wait_status));
  int signal = WTERMSIG(wait_status);
  return fmt::format("killed by signal {} ({})", signal, ::sigdescr_np(signal));
}

Supervisor::Supervisor(std::function<void(std::string_view)> say)
    : say_(std::move(say)), own_pid_(::getpid()) {
  // Who writes to a pipe that nobody reads any more is not to leave children behind; and children
  // of whoever ignores their end cannot be waited for.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGCHLD, SIG_DFL);
  sigset_t set = WatchedSignals();
  BULLA_CHECK(::pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0, "the signal set is valid");
  signals_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  BULLA_CHECK(signals_.valid(), "a process at its start has a file descriptor to spare");
}

Supervisor::~Supervisor() {
  for (Child& child : children_) Kill(child, SIGKILL);
}

Supervisor::Child& Supervisor::Find(std::string_view name) {
  auto found = std::find_if(children_.begin(), children_.end(),
                            [&](const Child& child) { return child.spec.name == name; });
  BULLA_CHECK(found != children_.end(), "the child was started");
  return *found;
}

absl::Status Supervisor::Spawn(Child& child) {
  const ChildSpec& spec = child.spec;
  std::error_code ignored;  // that there is none is as good
  if (!spec.ready_file.empty()) std::filesystem::remove(spec.ready_file, ignored);

  UniqueFd log(::open(spec.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!log.valid() || !null.valid()) {
    return absl::UnavailableError(
        fmt::format("cannot open {}: {}", spec.log_file.string(), ErrnoText(errno)));
  }
  child.log_begin = ::lseek(log.get(), 0, SEEK_END);
  std::vector<std::string> arguments = spec.argv;
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  pid_t pid = ::fork();
  if (pid < 0) {
    return absl::UnavailableError(fmt::format("cannot fork: {}", ErrnoText(errno)));
  }
  if (pid == 0) BecomeProgram(argv.data(), log.get(), null.get(), own_pid_);
  child.pid = pid;
  child.restart_at.reset();
  return absl::OkStatus();
}

absl::Status Supervisor::Start(ChildSpec spec) {
  Child& child = children_.emplace_back();
  child.spec = std::move(spec);
  absl::Status status = Spawn(child);
  if (!status.ok()) children_.pop_back();
  return status;
}

absl::Status Supervisor::RunBlocking(const ChildSpec& spec, std::chrono::milliseconds timeout) {
  BULLA_RETURN_IF_ERROR(Start(spec));
  Child& child = children_.back();
  bool ended = WaitForEnd(child, Now() + timeout);
  int status = child.last_status;
  Kill(child, SIGKILL);
  std::string log = EndOfLog(child);
  children_.pop_back();
  if (stop_asked_) return absl::CancelledError("asked to stop");
  if (!ended) {
    return absl::DeadlineExceededError(
        fmt::format("{} did not end within {} ms\n{}", spec.name, timeout.count(), log));
  }
  if (status != 0) {
    return absl::FailedPreconditionError(
        fmt::format("{} failed: {}\n{}", spec.name, DescribeEnd(status), log));
  }
  return absl::OkStatus();
}

absl::StatusOr<boost::json::object> Supervisor::AwaitReadyBlocking(
    std::string_view name, std::chrono::milliseconds timeout) {
  Child& child = Find(name);
  const MonotonicTime began = Now();
  const MonotonicTime deadline = began + timeout;
  MonotonicTime next_word = began + kStillWaitingEvery;
  while (true) {
    // The child may have written its file and died since: a dead child is not ready.
    absl::StatusOr<std::optional<boost::json::object>> ready = ReadReadyFile(child.spec.ready_file);
    if (stop_asked_) return absl::CancelledError("asked to stop");
    if (child.pid < 0) {
      return absl::FailedPreconditionError(fmt::format("{} ended before it was ready: {}\n{}", name,
                                                       DescribeEnd(child.last_status),
                                                       EndOfLog(child)));
    }
    if (!ready.ok()) {
      return absl::Status(ready.status().code(),
                          fmt::format("{}: {}", name, std::string(ready.status().message())));
    }
    if (*ready) return **std::move(ready);
    if (Now() >= next_word) {
      say_(fmt::format("still waiting for {} ({:.0f} s of {}), log: {}", name,
                       std::chrono::duration<double>(Now() - began).count(),
                       std::chrono::duration_cast<std::chrono::seconds>(timeout).count(),
                       child.spec.log_file.string()));
      next_word += kStillWaitingEvery;
    }
    if (Now() >= deadline) {
      return absl::DeadlineExceededError(
          fmt::format("{} was not ready within {} ms\n{}", name, timeout.count(), EndOfLog(child)));
    }
    WaitForSignal(std::min(deadline, Now() + kReadyPoll));
  }
}

void Supervisor::SetArguments(std::string_view name, std::vector<std::string> argv) {
  Find(name).spec.argv = std::move(argv);
}

std::map<std::string, pid_t> Supervisor::Pids() const {
  std::map<std::string, pid_t> pids;
  for (const Child& child : children_) {
    if (child.pid > 0) pids.emplace(child.spec.name, child.pid);
  }
  return pids;
}

void Supervisor::SuperviseUntilSignalBlocking(const std::function<void()>& restarted) {
  while (!stop_asked_) {
    ScheduleRestarts(Now());
    if (RestartTheDue(Now())) restarted();
    WaitForSignal(NextRestart());
  }
}

void Supervisor::ScheduleRestarts(MonotonicTime now) {
  for (Child& child : children_) {
    if (child.pid >= 0 || child.restart_at) continue;
    std::error_code ignored;
    const bool was_ready = std::filesystem::exists(child.spec.ready_file, ignored);
    child.deaths_before_ready = was_ready ? 0 : child.deaths_before_ready + 1;
    int doublings = std::min(child.deaths_before_ready, kDoublingsMax);
    std::chrono::milliseconds delay = kRestartDelay * (1 << doublings);
    child.restart_at = now + delay;
    say_(fmt::format("{} ended ({}); starting it again in {} ms, log: {}", child.spec.name,
                     DescribeEnd(child.last_status), delay.count(), child.spec.log_file.string()));
  }
}

bool Supervisor::RestartTheDue(MonotonicTime now) {
  bool any = false;
  for (Child& child : children_) {
    if (!child.restart_at || *child.restart_at > now) continue;
    if (absl::Status status = Spawn(child); !status.ok()) {
      say_(fmt::format("{}: {}", child.spec.name, std::string(status.message())));
      child.restart_at = now + kRestartDelay * (1 << kDoublingsMax);
    } else {
      any = true;
    }
  }
  return any;
}

std::optional<MonotonicTime> Supervisor::NextRestart() const {
  std::optional<MonotonicTime> next;
  for (const Child& child : children_) {
    if (child.restart_at && (!next || *child.restart_at < *next)) next = child.restart_at;
  }
  return next;
}

void Supervisor::WaitForSignal(std::optional<MonotonicTime> until) {
  int timeout_ms = -1;
  if (until) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - Now());
    timeout_ms = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
  }
  pollfd poll{.fd = signals_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&poll, 1, timeout_ms) <= 0) return;
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo != static_cast<std::uint32_t>(SIGCHLD)) stop_asked_ = true;
  }
  Reap();
}

void Supervisor::Reap() {
  for (Child& child : children_) {
    if (child.pid > 0 && ::waitpid(child.pid, &child.last_status, WNOHANG) == child.pid) {
      child.pid = -1;
    }
  }
}

bool Supervisor::WaitForEnd(const Child& child, MonotonicTime until) {
  while (child.pid >= 0 && Now() < until && !stop_asked_) WaitForSignal(until);
  return child.pid < 0;
}

void Supervisor::Kill(Child& child, int signal) {
  if (child.pid < 0) return;
  ::kill(child.pid, signal);
  if (signal != SIGKILL) return;
  ::waitpid(child.pid, &child.last_status, 0);
  child.pid = -1;
}

void Supervisor::StopAllBlocking(std::chrono::milliseconds grace) {
  stop_asked_ = false;  // what asked for this; a further signal shortens the grace to nothing
  for (auto child = children_.rbegin(); child != children_.rend(); ++child) {
    if (child->pid < 0) continue;
    if (!stop_asked_) {
      Kill(*child, SIGTERM);
      if (WaitForEnd(*child, Now() + grace)) continue;
      say_(fmt::format("{} did not stop by itself; killing it", child->spec.name));
    }
    Kill(*child, SIGKILL);
  }
  children_.clear();
}

std::string Supervisor::EndOfLog(const Child& child) const {
  std::ifstream stream(child.spec.log_file, std::ios::binary | std::ios::ate);
  if (!stream) return {};
  const std::int64_t size = stream.tellg();
  // What earlier runs have left there is no reason of this one.
  stream.seekg(std::max({child.log_begin, size - kLogTailBytes, std::int64_t{0}}));
  std::string tail{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  std::size_t from = tail.size();
  for (int lines = 0; from > 0 && lines < kLogTailLines; ++lines) {
    std::size_t newline = from >= 2 ? tail.rfind('\n', from - 2) : std::string::npos;
    from = newline == std::string::npos ? 0 : newline + 1;
  }
  if (tail.empty()) return fmt::format("it wrote nothing to {}", child.spec.log_file.string());
  return fmt::format("the end of {}:\n{}", child.spec.log_file.string(), tail.substr(from));
}

}  // namespace bulla
