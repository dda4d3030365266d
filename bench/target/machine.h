#pragma once

// On what a figure was measured, for whoever reads it later.

#include <string>

#include <boost/json/object.hpp>

namespace bulla {

struct Machine {
  std::string cpu_model;
  std::size_t cpus = 0;  // that this process may use
  std::string kernel;
  double load_average = 0;  // of the last minute: what else was going on
};

Machine ThisMachine();

std::string MachineText(const Machine& machine);  // one line, without its end
boost::json::object MachineJson(const Machine& machine);

}  // namespace bulla
