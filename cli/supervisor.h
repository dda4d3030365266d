#pragma once

// Keeps a handful of child processes running: starts them one after the other, waits until each
// says that it is ready, starts a dead one again, and stops them in order. `bulla dev` is its user.
//
// A child says that it is ready by writing a file (atomically, a JSON object with the addresses it
// got). A child cannot outlive the supervisor: the kernel kills it when its parent dies
// (PR_SET_PDEATHSIG), whatever the parent died of.

#include <chrono>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include <boost/json/object.hpp>

#include "base/clock.h"
#include "base/fd.h"
#include "base/status.h"

namespace bulla {

struct ChildSpec {
  std::string name;                // for messages: "enclave-1"
  std::vector<std::string> argv;   // argv[0] is the path of the program
  std::filesystem::path log_file;  // standard output and error are appended to it
  std::filesystem::path ready_file;
};

// Confined to the thread that made it, which must live as long as the children: the kernel takes
// the end of the thread that forked for the end of the parent. Blocks SIGINT, SIGTERM, SIGHUP and
// SIGCHLD in that thread, and takes them from then on; make it before any other thread.
// What of the first three was ignored before stays ignored; SIGPIPE is from then on.
class Supervisor {
 public:
  // `say` gets one line for each thing that happens.
  explicit Supervisor(std::function<void(std::string_view)> say);
  ~Supervisor();  // kills what still runs
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Runs a program to its end, within `timeout`. The error carries the end of its log.
  // CANCELLED when a signal asks to stop meanwhile.
  absl::Status RunBlocking(const ChildSpec& spec, std::chrono::milliseconds timeout);

  // Starts a child. Its ready file is removed first, so that an old one is not believed.
  absl::Status Start(ChildSpec spec);

  // Waits for the child of that name to write its ready file, and returns the content.
  // FAILED_PRECONDITION when it dies first and DEADLINE_EXCEEDED when it takes longer, both with
  // the end of its log; DATA_LOSS when the file makes no sense; CANCELLED when a signal asks to
  // stop. Requires: Start(name) was called.
  absl::StatusOr<boost::json::object> AwaitReadyBlocking(std::string_view name,
                                                         std::chrono::milliseconds timeout);

  // What the child will be started with if it dies: the same program on the addresses it got.
  void SetArguments(std::string_view name, std::vector<std::string> argv);

  // Starts dead children again until SIGINT, SIGTERM or SIGHUP arrives. A child that dies is
  // started after kRestartDelay; each further death before it was ready doubles the wait. Calls
  // `restarted` when some were started: their process ids are new.
  void SuperviseUntilSignalBlocking(const std::function<void()>& restarted);

  // The children that run, by name.
  std::map<std::string, pid_t> Pids() const;

  // Sends SIGTERM to one child after the other, the last started first, and waits for each up to
  // `grace`; then, or at a further signal, SIGKILL.
  void StopAllBlocking(std::chrono::milliseconds grace);

  static constexpr std::chrono::milliseconds kRestartDelay{100};

 private:
  struct Child {
    ChildSpec spec;
    pid_t pid = -1;  // -1: not running
    int last_status = 0;
    std::int64_t log_begin = 0;  // where in the log its lines begin
    int deaths_before_ready = 0;
    std::optional<MonotonicTime> restart_at;
  };

  Child& Find(std::string_view name);
  absl::Status Spawn(Child& child);
  // Waits for a signal, at most until `until`; takes note of the children that died.
  void WaitForSignal(std::optional<MonotonicTime> until);
  void Reap();
  bool RestartTheDue(MonotonicTime now);  // whether any was started
  void ScheduleRestarts(MonotonicTime now);
  std::optional<MonotonicTime> NextRestart() const;
  bool WaitForEnd(const Child& child, MonotonicTime until);
  void Kill(Child& child, int signal);
  std::string EndOfLog(const Child& child) const;

  const std::function<void(std::string_view)> say_;
  const pid_t own_pid_;
  UniqueFd signals_;
  std::deque<Child> children_;  // in the order they were started
  bool stop_asked_ = false;
};

// "exit status 3", "killed by signal 9 (Killed)".
std::string DescribeEnd(int wait_status);

}  // namespace bulla
