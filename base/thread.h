#pragma once

// Threads with names, so that a debugger, a profiler and `top -H` show who is who.

#include <chrono>
#include <string>
#include <thread>
#include <utility>

namespace bulla {

// Names the calling thread; the kernel keeps the first 15 characters.
void SetThreadName(const std::string& name);

// Keeps the calling thread on one of the CPUs it may run on, chosen by `index` modulo their number.
// False when the kernel refuses; the thread then runs anywhere.
bool PinThreadToCpu(std::size_t index);

// CPU time that the calling thread has used. A system call: a third of a microsecond.
std::chrono::nanoseconds ThreadCpuTime();

// CPUs this process may run on; at least 1.
std::size_t UsableCpus();

template <typename Body>
std::thread StartThread(std::string name, Body body) {
  return std::thread([name = std::move(name), body = std::move(body)]() mutable {
    SetThreadName(name);
    body();
  });
}

}  // namespace bulla
