#include "bench/target/service.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include <boost/json/parse.hpp>
#include <fcntl.h>
#include <poll.h>

#include "base/errno_text.h"
#include "base/exec.h"
#include "bench/target/process.h"

namespace bulla {
namespace {

constexpr std::string_view kAnyLoopbackPort = "127.0.0.1:0";
constexpr std::chrono::seconds kReadyTimeout{60};
constexpr int kReadyPollMs = 20;
constexpr int kStopGraceMs = 30'000;  // `bulla dev` gives each of its children 15 s
constexpr std::size_t kEndpointsBytesMax = 4096;
constexpr std::size_t kLogTailBytes = 2000;

std::string TextOf(const boost::json::object& object, std::string_view name) {
  const boost::json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

std::string ReadFile(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

std::vector<std::string> Environment(const std::map<std::string, std::string>& settings) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    std::string_view text = *variable;
    if (!settings.contains(std::string(text.substr(0, text.find('='))))) {
      variables.emplace_back(text);
    }
  }
  for (const auto& [name, value] : settings) variables.push_back(name + "=" + value);
  return variables;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Between fork and exec, where only async-signal-safe calls are allowed.
[[noreturn]] void BecomeProgram(char* const* argv, char* const* environment, int log_fd,
                                int null_fd, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);  // it died before the line above took effect
  ::dup2(null_fd, STDIN_FILENO);
  ::dup2(log_fd, STDOUT_FILENO);
  ::dup2(log_fd, STDERR_FILENO);
  ExecOrExplain(argv, environment);
}

// The process between this one and `bulla dev`. It stops the service and removes its data when it
// is told to, or when this process dies, whatever it died of; Ctrl-C goes past it (a group of its
// own). When the service ends by itself its data stay, for the log in them.
[[noreturn]] void KeepService(char* const* argv, char* const* environment, int log_fd, int null_fd,
                              pid_t parent, const std::filesystem::path& data) {
  sigset_t watched;
  ::sigemptyset(&watched);
  ::sigaddset(&watched, SIGTERM);
  ::sigaddset(&watched, SIGCHLD);
  std::signal(SIGCHLD, SIG_DFL);  // who ignores it has no children to wait for
  ::pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);
  ::setpgid(0, 0);
  const pid_t keeper = ::getpid();
  pid_t service = ::fork();
  if (service == 0) BecomeProgram(argv, environment, log_fd, null_fd, keeper);
  int signal = 0;
  while (signal != SIGTERM) {
    ::sigwait(&watched, &signal);
    if (signal == SIGCHLD && ::waitpid(service, nullptr, WNOHANG) == service) ::_exit(1);
  }
  ::kill(service, SIGTERM);
  timespec grace{.tv_sec = kStopGraceMs / 1000, .tv_nsec = 0};
  sigset_t ended;
  ::sigemptyset(&ended);
  ::sigaddset(&ended, SIGCHLD);
  ::sigtimedwait(&ended, nullptr, &grace);
  ::kill(service, SIGKILL);  // nothing, when it has stopped
  ::waitpid(service, nullptr, 0);
  std::error_code ignored;
  std::filesystem::remove_all(data, ignored);
  ::_exit(0);
}

// Whether the process ended within the time.
bool AwaitEnd(const UniqueFd& pid_fd, int timeout_ms) {
  pollfd poll{.fd = pid_fd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, timeout_ms) == 1;
}

}  // namespace

absl::StatusOr<Service> ParseService(std::string_view json) {
  boost::json::error_code error;
  boost::json::value value = boost::json::parse(json.substr(0, kEndpointsBytesMax), error);
  if (error || !value.is_object()) return absl::InvalidArgumentError("not a JSON object");
  const boost::json::object& object = value.get_object();
  Service service{.http = TextOf(object, "http"),
                  .grpc = TextOf(object, "grpc"),
                  .admin = TextOf(object, "admin")};
  for (const auto& [name, address] :
       {std::pair("http", service.http), {"grpc", service.grpc}, {"admin", service.admin}}) {
    if (address.empty()) return absl::InvalidArgumentError(fmt::format("no address '{}'", name));
  }
  const boost::json::value* pids = object.if_contains("pids");
  if (pids == nullptr || !pids->is_object()) return absl::InvalidArgumentError("no 'pids'");
  for (const auto& [name, number] : pids->get_object()) {
    pid_t pid = number.to_number<pid_t>(error);
    if (error || pid <= 0) {
      return absl::InvalidArgumentError(fmt::format("pids: '{}' is no process", std::string(name)));
    }
    if (name == "gateway") service.gateway = pid;
    if (name.starts_with("enclave-")) service.enclaves.push_back(pid);
  }
  if (service.gateway == 0 || service.enclaves.empty()) {
    return absl::InvalidArgumentError("pids: wanted a gateway and at least one enclave-N");
  }
  return service;
}

absl::StatusOr<Service> ReadService(const std::filesystem::path& file) {
  absl::StatusOr<Service> service = ParseService(ReadFile(file));
  if (service.ok()) return service;
  return absl::InvalidArgumentError(
      fmt::format("{} is no endpoints.json of a running bulla dev: {}", file.string(),
                  std::string(service.status().message())));
}

absl::StatusOr<ServiceCpu> CpuTimeOf(const Service& service) {
  absl::StatusOr<Duration> gateway = CpuTimeOf(service.gateway);
  if (!gateway.ok()) return absl::UnavailableError("the gateway's process has ended");
  ServiceCpu cpu{.gateway = *gateway};
  for (pid_t pid : service.enclaves) {
    absl::StatusOr<Duration> enclave = CpuTimeOf(pid);
    if (!enclave.ok()) return absl::UnavailableError("an enclave's process has ended");
    cpu.enclaves += *enclave;
  }
  return cpu;
}

absl::StatusOr<OwnService> OwnService::StartBlocking(const ServiceOptions& options,
                                                     const Clock& clock) {
  OwnService own;
  std::error_code no_folder;  // mkdtemp says of what is no folder why it is none
  std::string folder =
      (std::filesystem::temp_directory_path(no_folder) / "bulla-bench-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) {
    return absl::InternalError(fmt::format("{}: {}", folder, ErrnoText(errno)));
  }
  own.data_ = folder;
  BULLA_RETURN_IF_ERROR(own.Spawn(options));
  BULLA_RETURN_IF_ERROR(own.AwaitReadyBlocking(clock));
  return own;
}

absl::Status OwnService::Spawn(const ServiceOptions& options) {
  std::vector<std::string> arguments{
      options.program_dir / "bulla",      "dev", "--data", data_, "--enclaves",
      fmt::format("{}", options.enclaves)};
  for (const char* listener : {"--http", "--grpc", "--admin"}) {
    arguments.insert(arguments.end(), {listener, std::string(kAnyLoopbackPort)});
  }
  arguments.insert(arguments.end(), options.dev_arguments.begin(), options.dev_arguments.end());
  std::vector<std::string> variables = Environment(options.settings);
  std::vector<char*> argv = Pointers(arguments);
  std::vector<char*> environment = Pointers(variables);
  UniqueFd log(::open((data_ / "dev.log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const pid_t parent = ::getpid();
  pid_t pid = log.valid() && null.valid() ? ::fork() : -1;
  if (pid < 0) {
    return absl::InternalError(fmt::format("cannot start bulla dev: {}", ErrnoText(errno)));
  }
  if (pid == 0) {
    KeepService(argv.data(), environment.data(), log.get(), null.get(), parent, data_);
  }
  pid_ = pid;
  pid_fd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  return absl::OkStatus();
}

absl::Status OwnService::AwaitReadyBlocking(const Clock& clock) {
  const std::filesystem::path endpoints = data_ / "endpoints.json";
  MonotonicTime give_up_at = clock.Now() + kReadyTimeout;
  std::error_code ignored;
  while (!std::filesystem::exists(endpoints, ignored)) {
    if (AwaitEnd(pid_fd_, kReadyPollMs)) {
      return absl::InternalError("bulla dev ended before it was ready:\n" + EndOfLog());
    }
    if (clock.Now() >= give_up_at) {
      return absl::InternalError("bulla dev did not become ready:\n" + EndOfLog());
    }
  }
  BULLA_ASSIGN_OR_RETURN(service_, ReadService(endpoints));
  return absl::OkStatus();
}

std::string OwnService::EndOfLog() const {
  std::string log = ReadFile(data_ / "dev.log");
  return log.substr(log.size() - std::min(log.size(), kLogTailBytes));
}

OwnService::OwnService(OwnService&& other) noexcept
    : data_(std::exchange(other.data_, {})),
      pid_(std::exchange(other.pid_, -1)),
      pid_fd_(std::move(other.pid_fd_)),
      service_(std::move(other.service_)) {}

OwnService::~OwnService() {
  if (pid_ > 0) {
    ::kill(pid_, SIGTERM);
    if (!AwaitEnd(pid_fd_, 2 * kStopGraceMs)) ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  if (!data_.empty()) std::filesystem::remove_all(data_, ignored);
}

absl::StatusOr<ChosenService> ChosenService::OpenBlocking(const ServiceChoice& choice,
                                                          const Clock& clock, std::ostream& err) {
  ChosenService chosen;
  if (!choice.target.empty()) {
    BULLA_ASSIGN_OR_RETURN(chosen.service_, ReadService(choice.target));
    chosen.description_ = fmt::format("the service of {}", choice.target.string());
    return chosen;
  }
  err << "starting a service" << std::endl;
  BULLA_ASSIGN_OR_RETURN(OwnService own, OwnService::StartBlocking(choice.own, clock));
  chosen.service_ = chosen.own_.emplace(std::move(own)).service();
  chosen.description_ = fmt::format("a service of its own with {} enclave{}", choice.own.enclaves,
                                    choice.own.enclaves == 1 ? "" : "s");
  for (const std::string& argument : choice.own.dev_arguments)
    chosen.description_ += " " + argument;
  for (const auto& [name, value] : choice.own.settings) {
    chosen.description_ += fmt::format(" {}={}", name, value);
  }
  return chosen;
}

}  // namespace bulla
