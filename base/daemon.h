#pragma once

// What the main of every daemon needs of the system: to be told to stop, and enough of everything.

#include <csignal>
#include <functional>
#include <string_view>

namespace bulla {

// Whether the signal is ignored, as nohup and shells that start something in the background have
// it. Who asks before changing anything keeps to what the user wanted.
bool IsIgnored(int signal);

// SIGTERM and SIGINT as something to wait for, instead of something that interrupts. Made first
// thing in main, before any thread, since threads inherit what is blocked. SIGPIPE and
// SIGXFSZ are ignored from then on: a peer that is gone and a file that may not grow are errors.
// What was ignored before stays so.
class StopSignals {
 public:
  // With `on_hangup`, SIGHUP is waited for too, and each one that arrives calls it: most daemons
  // read their configuration again then. Without, SIGHUP does what it does to any program.
  explicit StopSignals(std::function<void()> on_hangup = nullptr);
  // Blocks until one arrives that means to stop; its name, for the log.
  std::string_view WaitBlocking();

 private:
  const std::function<void()> on_hangup_;
  sigset_t signals_;
};

// Lets this process open as many descriptors as the hard limit allows: the soft one, 1024 on most
// machines, is below what the connections of a busy daemon need. Returns what is allowed now.
std::size_t RaiseDescriptorLimit();

// Has the allocator give buffers of 256 KiB and more back to the system as soon as they are freed.
// Left to itself it raises that bound to the largest buffer it has seen freed, up to 32 MiB, and
// what a wave of large requests took stays taken, in pieces. First thing in main.
void ReturnLargeBuffersAtOnce();

}  // namespace bulla
