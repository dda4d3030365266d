#pragma once

// Configuration: one YAML file per daemon, read into one struct. The struct's members carry the
// defaults; the daemon registers each with its key, unit, limits and a line of advice, and from
// that list come the reading, the error messages and the table in docs/config.md.
//
//   GatewayConfig config;
//   ConfigReader reader;
//   reader.AddString("http.listen", &config.http_listen, "HOST:PORT; port 0 picks a free one.");
//   reader.AddDuration("http.idle_timeout", &config.http_idle_timeout, 1s, 1h, "...");
//   BULLA_RETURN_IF_ERROR(reader.Load(path));
//
// An environment variable overrides each key: BULLA_HTTP_IDLE_TIMEOUT. A setting whose member is a
// Hot<T> (base/hot.h) takes effect while the daemon runs, any other at its next start.

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "base/config_file.h"
#include "base/hot.h"
#include "base/status.h"

namespace bulla {

namespace internal {
// "15m", "250ms", "3s": a whole number and one of us, ms, s, m, h.
absl::StatusOr<std::chrono::nanoseconds> ParseDuration(std::string_view text);
// In the largest unit that leaves a whole number.
std::string FormatDuration(std::chrono::nanoseconds duration);
absl::StatusOr<std::int64_t> ParseInteger(std::string_view text);
}  // namespace internal

// Used by one thread: register, then Load once. The members pointed to must outlive Load;
// after an error they are in any state between default and file.
class ConfigReader {
 public:
  static constexpr std::size_t kTextBytesMax = 4096;  // a path's limit

  // Registration. Requires: keys are words of a-z, 0-9 and _ joined by dots, no two alike also as
  // environment variables; defaults lie within their limits.

  // An empty text is taken only where the default is empty.
  void AddString(std::string key, std::string* member, std::string advice);
  // Written true or false.
  void AddBool(std::string key, bool* member, std::string advice);
  // A list of texts that are not empty; in the environment separated by commas.
  void AddStringList(std::string key, std::vector<std::string>* member, std::size_t count_max,
                     std::string advice);

  // `unit` is for the reader of the table: "bytes", "threads".
  // NOLINTBEGIN(performance-unnecessary-value-param): moved from, unseen since in a template
  template <typename Member>
  void AddInteger(std::string key, Member* member, const std::string& unit,
                  typename SettingTraits<Member>::Value min,
                  typename SettingTraits<Member>::Value max, std::string advice) {
    using Integer = typename SettingTraits<Member>::Value;
    static_assert(std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>);
    const Integer value = SettingTraits<Member>::Get(*member);
    BULLA_CHECK(min <= value && value <= max, "a default lies outside its limits");
    BULLA_CHECK(std::in_range<std::int64_t>(max), "a limit is over 2^63 - 1");
    AddChecked(std::move(key), SettingTraits<Member>::kHot, "integer", std::to_string(value), unit,
               std::to_string(min), std::to_string(max), std::move(advice),
               [member, min, max](const std::string& text) -> absl::Status {
                 BULLA_ASSIGN_OR_RETURN(std::int64_t parsed, internal::ParseInteger(text));
                 if (std::cmp_less(parsed, min) || std::cmp_greater(parsed, max)) {
                   return absl::OutOfRangeError("");
                 }
                 *member = static_cast<Integer>(parsed);
                 return absl::OkStatus();
               });
  }

  template <typename Member>
  void AddDuration(std::string key, Member* member, typename SettingTraits<Member>::Value min,
                   typename SettingTraits<Member>::Value max, std::string advice) {
    using Value = typename SettingTraits<Member>::Value;
    const Value value = SettingTraits<Member>::Get(*member);
    BULLA_CHECK(min <= value && value <= max, "a default lies outside its limits");
    AddChecked(
        std::move(key), SettingTraits<Member>::kHot, "duration", internal::FormatDuration(value),
        "", internal::FormatDuration(min), internal::FormatDuration(max), std::move(advice),
        [member, min, max](const std::string& text) -> absl::Status {
          BULLA_ASSIGN_OR_RETURN(std::chrono::nanoseconds parsed, internal::ParseDuration(text));
          auto rounded = std::chrono::duration_cast<Value>(parsed);
          if (rounded != parsed) return absl::InvalidArgumentError("");  // 1ms in seconds
          if (rounded < min || rounded > max) return absl::OutOfRangeError("");
          *member = rounded;
          return absl::OkStatus();
        });
  }
  // NOLINTEND(performance-unnecessary-value-param)

  // For what is hot though its member is no Hot<T>: it is not read at use, but whoever takes a
  // changed file hands it on. Requires: `key` was registered, or is a section.
  void MarkHot(std::string_view key);

  // The value of an environment variable, or null.
  using Environment = std::function<const char*(const char* name)>;
  static const char* ProcessEnvironment(const char* name);

  // Reads the file, where `path` is not empty, then the environment. INVALID_ARGUMENT names file
  // and line or variable, key, what arrived and what was wanted.
  absl::Status Load(const std::string& path, const Environment& environment = ProcessEnvironment);
  // The same with the file's text at hand; `name` is what errors call it.
  absl::Status LoadText(std::string_view yaml, std::string_view name,
                        const Environment& environment);

  // After Load: where a key's value came from, to begin the message about a contradiction with:
  // "gateway.yaml:12: http.listen", "BULLA_HTTP_LISTEN: http.listen", "default: http.listen".
  std::string Where(std::string_view key) const;

  enum class Takes { kEffectAtOnce, kRestart };
  // Each key that takes this, with the value that its member had at registration, written as a file
  // would have it. So two structs can be compared key by key.
  std::map<std::string, std::string> Defaults(Takes takes) const;

  // All keys in the order of registration, for docs/config.md.
  std::string MarkdownTable() const;

 private:
  struct Field {
    std::string key;
    std::string environment;  // BULLA_HTTP_LISTEN
    std::string type;
    std::string default_text;
    std::string limits;  // "1 to 64 threads", may be empty
    std::string wanted;  // "an integer from 1 to 64": completes "want ..."
    std::string advice;
    bool is_list;
    bool hot;
    // INVALID_ARGUMENT or OUT_OF_RANGE; the message is made from `wanted`.
    std::function<absl::Status(const std::vector<std::string>& texts)> set;
    std::string origin = "default";  // where the value came from
  };

  void Add(Field field);
  // For values of one text between two limits.
  void AddChecked(std::string key, bool hot, std::string type, std::string default_text,
                  const std::string& unit, const std::string& min, const std::string& max,
                  std::string advice, std::function<absl::Status(const std::string&)> set);
  bool IsSection(std::string_view key) const;
  absl::Status Set(Field& field, std::string origin, const std::vector<std::string>& texts);
  absl::Status SetFromFile(const ConfigEntry& entry, std::string_view name);
  absl::Status SetFromEnvironment(Field& field, const Environment& environment);

  std::vector<Field> fields_;
  std::map<std::string, std::size_t, std::less<>> by_key_;  // index in fields_
};

}  // namespace bulla
