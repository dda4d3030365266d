#include "cli/console.h"

#include <string>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

namespace bulla {

ExitCode Console::Fail(ExitCode exit, std::string_view code, std::string_view message) const {
  if (json) {
    boost::json::value error = {{"error", {{"code", code}, {"message", message}}}};
    err << boost::json::serialize(error) << std::endl;
  } else {
    err << "bulla: " << message << std::endl;
  }
  return exit;
}

ExitCode Console::Finish(ExitCode exit, std::string_view what_is_lost) const {
  const absl::Status written = FlushOutput(out);
  if (written.ok()) return exit;
  out.clear();  // said once
  std::string message(what_is_lost);
  if (!message.empty()) message += "; ";
  Fail(ExitCode::kOutputLost, "OUTPUT_LOST", message + std::string(written.message()));
  return exit == ExitCode::kOk ? ExitCode::kOutputLost : exit;
}

}  // namespace bulla
