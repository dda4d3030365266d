#include "cli/console.h"

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

}  // namespace bulla
