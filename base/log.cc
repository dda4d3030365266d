#include "base/log.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <iterator>
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "base/clock.h"
#include "base/log_limiter.h"
#include "base/mutex.h"

namespace bulla {
namespace {

// Process-wide like standard error itself; written seldom, read by every thread.
std::atomic<LogLevel> least_level{LogLevel::kInfo};

constexpr std::string_view kLevelWords[] = {"debug", "info", "warn", "error"};

// How many lines of `event` were left out before this one; nothing when this is left out too.
std::optional<std::uint64_t> Admit(LogLevel level, std::string_view event) {
  if (level == LogLevel::kDebug) return 0;  // switched on by somebody who wants all of it
  struct Shared {
    Mutex mutex;
    LogLimiter limiter;
  };
  static Shared& shared = *new Shared;  // never freed: threads log to the very end
  MutexLock lock(shared.mutex);
  return shared.limiter.Admit(event, RealClock().Now());
}

std::string Timestamp() {
  const WallTime now = RealClock().WallNow();
  auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), millis);
}

}  // namespace

void SetLogLevel(LogLevel level) { least_level.store(level, std::memory_order_relaxed); }

bool IsLogged(LogLevel level) { return level >= least_level.load(std::memory_order_relaxed); }

std::optional<LogLevel> ParseLogLevel(std::string_view word) {
  const auto* found = std::find(std::begin(kLevelWords), std::end(kLevelWords), word);
  if (found == std::end(kLevelWords)) return std::nullopt;
  return static_cast<LogLevel>(found - std::begin(kLevelWords));
}

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!IsLogged(level)) return;
  const std::optional<std::uint64_t> left_out = Admit(level, event);
  if (!left_out) return;
  boost::json::object line;
  line["ts"] = Timestamp();
  line["level"] = kLevelWords[static_cast<int>(level)];
  line["event"] = event;
  for (const LogField& field : fields) {
    std::visit([&](const auto& value) { line[field.name] = value; }, field.value);
  }
  if (*left_out > 0) line["left_out"] = *left_out;
  std::string text = boost::json::serialize(line) + "\n";
  // A log that cannot be written must not stop the service: the result is dropped on purpose.
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace bulla
