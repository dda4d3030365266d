#include "base/log.h"

#include <atomic>
#include <chrono>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

namespace bulla {
namespace {

// Process-wide like standard error itself; written once at start, read by every thread.
std::atomic<LogLevel> least_level{LogLevel::kInfo};

constexpr std::string_view kLevelWords[] = {"debug", "info", "warn", "error"};

std::string Timestamp() {
  auto now = std::chrono::system_clock::now();
  auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), millis);
}

}  // namespace

void SetLogLevel(LogLevel level) { least_level.store(level, std::memory_order_relaxed); }

bool SetLogLevel(std::string_view word) {
  for (int i = 0; i < 4; ++i) {
    if (word == kLevelWords[i]) {
      SetLogLevel(static_cast<LogLevel>(i));
      return true;
    }
  }
  return false;
}

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (level < least_level.load(std::memory_order_relaxed)) return;
  boost::json::object line;
  line["ts"] = Timestamp();
  line["level"] = kLevelWords[static_cast<int>(level)];
  line["event"] = event;
  for (const LogField& field : fields) {
    std::visit([&](const auto& value) { line[field.name] = value; }, field.value);
  }
  std::string text = boost::json::serialize(line) + "\n";
  // A log that cannot be written must not stop the service: the result is dropped on purpose.
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace bulla
