#pragma once

// Structured logs: one JSON object a line on standard error, {"ts", "level", "event", fields...}.
// error wakes a human, warn is degraded but alive, info is lifecycle; nothing per request above
// debug. Never pass a secret; shorten key ids (KeyId::Short()). What repeats: base/log_limiter.h

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace bulla {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

// One name and its value. Implicit on purpose, so that a call reads Log(kInfo, "ready", {{"n",
// 3}}).
struct LogField {
  using Value = std::variant<std::string, std::int64_t, double, bool>;
  std::string_view name;
  Value value;

  LogField(std::string_view n, std::string v) : name(n), value(std::move(v)) {}
  LogField(std::string_view n, std::string_view v) : name(n), value(std::string(v)) {}
  LogField(std::string_view n, const char* v) : name(n), value(std::string(v)) {}
  LogField(std::string_view n, bool v) : name(n), value(v) {}
  LogField(std::string_view n, double v) : name(n), value(v) {}
  template <typename Integer>
  requires std::is_integral_v<Integer> LogField(std::string_view n, Integer v)
      : name(n), value(static_cast<std::int64_t>(v)) {}
};

// The least level that is written; kInfo until set. Thread-safe.
void SetLogLevel(LogLevel level);
bool IsLogged(LogLevel level);
// debug, info, warn or error; nothing for any other word.
std::optional<LogLevel> ParseLogLevel(std::string_view word);
inline constexpr std::string_view kLogLevelsWanted = "debug, info, warn or error";

// Writes one line with a single write(2). Thread-safe. `event` is snake_case.
void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

inline void LogInfo(std::string_view event, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kInfo, event, fields);
}
inline void LogWarn(std::string_view event, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kWarn, event, fields);
}
inline void LogError(std::string_view event, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kError, event, fields);
}

}  // namespace bulla
