#include "bench/target/machine.h"

#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <sys/utsname.h>

#include "base/thread.h"

namespace bulla {
namespace {

std::string CpuModel() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";  // not every architecture has the line
}

}  // namespace

Machine ThisMachine() {
  Machine machine{.cpu_model = CpuModel(), .cpus = UsableCpus()};
  utsname names{};
  if (::uname(&names) == 0) machine.kernel = fmt::format("{} {}", names.sysname, names.release);
  ::getloadavg(&machine.load_average, 1);
  return machine;
}

std::string MachineText(const Machine& machine) {
  return fmt::format("{}, {} CPUs, {}, load average {:.2f}", machine.cpu_model, machine.cpus,
                     machine.kernel, machine.load_average);
}

boost::json::object MachineJson(const Machine& machine) {
  return {{"cpu_model", machine.cpu_model},
          {"cpus", machine.cpus},
          {"kernel", machine.kernel},
          {"load_average", machine.load_average}};
}

}  // namespace bulla
