#include "base/config.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iterator>

#include "base/file.h"

namespace bulla {
namespace {

struct DurationUnit {
  std::string_view name;
  std::int64_t nanoseconds;
};
constexpr DurationUnit kDurationUnits[] = {
    // the largest first
    {"h", 3'600'000'000'000}, {"m", 60'000'000'000}, {"s", 1'000'000'000},
    {"ms", 1'000'000},        {"us", 1'000},
};

// What arrived, fit for one line of a message: cut, and nothing in it that a terminal obeys.
std::string Quoted(const std::vector<std::string>& texts) {
  constexpr std::size_t kShownMax = 60;
  std::string shown = fmt::format("{}", fmt::join(texts, ", "));
  if (shown.size() > kShownMax) {
    shown.resize(kShownMax);
    shown += "...";
  }
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return fmt::format("\"{}\"", shown);
}

bool IsKey(std::string_view key) {
  bool in_word = false;
  for (char c : key) {
    bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    if (!word && !(c == '.' && in_word)) return false;
    in_word = word;
  }
  return in_word;
}

std::string EnvironmentName(std::string_view key) {
  std::string name = "BULLA_";
  for (char c : key) {
    if (c == '.') c = '_';
    name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return name;
}

std::vector<std::string> SplitAtCommas(std::string_view text) {
  std::vector<std::string> parts;
  if (text.empty()) return parts;
  while (true) {
    std::size_t comma = text.find(',');
    parts.emplace_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

std::string MarkdownCell(std::string_view text) {
  std::string cell;
  for (char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

std::string MarkdownCode(std::string_view text) {
  return text.empty() ? "" : fmt::format("`{}`", MarkdownCell(text));
}

}  // namespace

namespace internal {

absl::StatusOr<std::int64_t> ParseInteger(std::string_view text) {
  std::int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return absl::InvalidArgumentError("not an integer");
  }
  return value;
}

absl::StatusOr<std::chrono::nanoseconds> ParseDuration(std::string_view text) {
  std::size_t digits = text.find_first_not_of("0123456789");
  if (digits == std::string_view::npos) return absl::InvalidArgumentError("no unit");
  BULLA_ASSIGN_OR_RETURN(std::int64_t count, ParseInteger(text.substr(0, digits)));
  for (const DurationUnit& unit : kDurationUnits) {
    if (text.substr(digits) != unit.name) continue;
    if (count > std::numeric_limits<std::int64_t>::max() / unit.nanoseconds) {
      return absl::OutOfRangeError("over 292 years");
    }
    return std::chrono::nanoseconds(count * unit.nanoseconds);
  }
  return absl::InvalidArgumentError("no such unit");
}

std::string FormatDuration(std::chrono::nanoseconds duration) {
  if (duration.count() == 0) return "0s";
  for (const DurationUnit& unit : kDurationUnits) {
    if (duration.count() % unit.nanoseconds == 0) {
      return fmt::format("{}{}", duration.count() / unit.nanoseconds, unit.name);
    }
  }
  return fmt::format("{}ns", duration.count());
}

}  // namespace internal

void ConfigReader::Add(Field field) {
  BULLA_CHECK(IsKey(field.key), "a key is words of a-z, 0-9 and _ joined by dots");
  field.environment = EnvironmentName(field.key);
  for (const Field& other : fields_) {
    BULLA_CHECK(other.environment != field.environment, "two keys have one environment variable");
  }
  by_key_.emplace(field.key, fields_.size());
  fields_.push_back(std::move(field));
}

void ConfigReader::AddChecked(std::string key, bool hot, std::string type, std::string default_text,
                              const std::string& unit, const std::string& min,
                              const std::string& max, std::string advice,
                              std::function<absl::Status(const std::string&)> set) {
  std::string limits = fmt::format("{} to {}", min, max);
  if (!unit.empty()) limits += " " + unit;
  std::string wanted = type == "duration"
                           ? fmt::format("a duration such as 250ms, 3s or 15m, {}", limits)
                           : fmt::format("an {}, {}", type, limits);
  Add({std::move(key), "", std::move(type), std::move(default_text), std::move(limits),
       std::move(wanted), std::move(advice), false, hot,
       [set = std::move(set)](const std::vector<std::string>& texts) { return set(texts[0]); }});
}

void ConfigReader::AddString(std::string key, std::string* member, std::string advice) {
  bool may_be_empty = member->empty();
  std::string wanted = fmt::format("a text of {} to {} bytes", may_be_empty ? 0 : 1, kTextBytesMax);
  Add({std::move(key), "", "text", *member, "", std::move(wanted), std::move(advice), false, false,
       [member, may_be_empty](const std::vector<std::string>& texts) {
         if (texts[0].size() > kTextBytesMax || (texts[0].empty() && !may_be_empty)) {
           return absl::OutOfRangeError("");
         }
         *member = texts[0];
         return absl::OkStatus();
       }});
}

void ConfigReader::AddBool(std::string key, bool* member, std::string advice) {
  Add({std::move(key), "", "bool", *member ? "true" : "false", "", "true or false",
       std::move(advice), false, false, [member](const std::vector<std::string>& texts) {
         if (texts[0] != "true" && texts[0] != "false") return absl::InvalidArgumentError("");
         *member = texts[0] == "true";
         return absl::OkStatus();
       }});
}

void ConfigReader::AddStringList(std::string key, std::vector<std::string>* member,
                                 std::size_t count_max, std::string advice) {
  BULLA_CHECK(member->size() <= count_max, "a default lies outside its limits");
  std::string limits = fmt::format("at most {}", count_max);
  std::string wanted =
      fmt::format("a list of {} texts, each of 1 to {} bytes", limits, kTextBytesMax);
  Add({std::move(key), "", "list of texts", fmt::format("{}", fmt::join(*member, ",")),
       std::move(limits), std::move(wanted), std::move(advice), true, false,
       [member, count_max](const std::vector<std::string>& texts) {
         if (texts.size() > count_max) return absl::OutOfRangeError("");
         for (const std::string& text : texts) {
           if (text.empty() || text.size() > kTextBytesMax) return absl::OutOfRangeError("");
         }
         *member = texts;
         return absl::OkStatus();
       }});
}

const char* ConfigReader::ProcessEnvironment(const char* name) {
  return std::getenv(name);  // NOLINT(concurrency-mt-unsafe): no program of ours changes a variable
}

absl::Status ConfigReader::Load(const std::string& path, const Environment& environment) {
  if (path.empty()) return LoadText("", "", environment);
  BULLA_ASSIGN_OR_RETURN(std::string yaml, ReadTextFile(path, kConfigFileBytesMax));
  return LoadText(yaml, path, environment);
}

absl::Status ConfigReader::LoadText(std::string_view yaml, std::string_view name,
                                    const Environment& environment) {
  BULLA_ASSIGN_OR_RETURN(std::vector<ConfigEntry> entries, ParseConfigFile(yaml, name));
  for (const ConfigEntry& entry : entries) BULLA_RETURN_IF_ERROR(SetFromFile(entry, name));
  for (Field& field : fields_) BULLA_RETURN_IF_ERROR(SetFromEnvironment(field, environment));
  return absl::OkStatus();
}

// Whether there are keys below it.
bool ConfigReader::IsSection(std::string_view key) const {
  std::string prefix = fmt::format("{}.", key);
  auto next = by_key_.lower_bound(prefix);
  return next != by_key_.end() && next->first.compare(0, prefix.size(), prefix) == 0;
}

absl::Status ConfigReader::Set(Field& field, std::string origin,
                               const std::vector<std::string>& texts) {
  if (!field.set(texts).ok()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {}: {}, want {}", origin, field.key, Quoted(texts), field.wanted));
  }
  field.origin = std::move(origin);
  return absl::OkStatus();
}

absl::Status ConfigReader::SetFromFile(const ConfigEntry& entry, std::string_view name) {
  std::string origin = fmt::format("{}:{}", name, entry.line);
  auto found = by_key_.find(entry.key);
  if (found == by_key_.end()) {
    if (entry.kind == ConfigEntry::Kind::kNothing && IsSection(entry.key)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        fmt::format("{}: {}: {}", origin, Quoted({entry.key}),
                    IsSection(entry.key) ? "a section, want keys below it" : "no such key"));
  }
  Field& field = fields_[found->second];
  if (entry.kind == ConfigEntry::Kind::kNothing ||
      field.is_list != (entry.kind == ConfigEntry::Kind::kList)) {
    const char* arrived = entry.kind == ConfigEntry::Kind::kNothing ? "nothing"
                          : entry.kind == ConfigEntry::Kind::kList  ? "a list"
                                                                    : "a single text";
    return absl::InvalidArgumentError(
        fmt::format("{}: {}: {}, want {}", origin, field.key, arrived, field.wanted));
  }
  return Set(field, std::move(origin), entry.texts);
}

absl::Status ConfigReader::SetFromEnvironment(Field& field, const Environment& environment) {
  const char* value = environment(field.environment.c_str());
  if (value == nullptr) return absl::OkStatus();
  return Set(field, field.environment,
             field.is_list ? SplitAtCommas(value) : std::vector<std::string>{value});
}

std::string ConfigReader::Where(std::string_view key) const {
  auto found = by_key_.find(key);
  BULLA_CHECK(found != by_key_.end(), "no such key was registered");
  return fmt::format("{}: {}", fields_[found->second].origin, key);
}

void ConfigReader::MarkHot(std::string_view key) {
  const std::string prefix = fmt::format("{}.", key);
  BULLA_CHECK(IsSection(key) || by_key_.contains(key), "no such key was registered");
  for (Field& field : fields_) {
    if (field.key == key || field.key.starts_with(prefix)) field.hot = true;
  }
}

std::map<std::string, std::string> ConfigReader::Defaults(Takes takes) const {
  std::map<std::string, std::string> defaults;
  for (const Field& field : fields_) {
    if (field.hot == (takes == Takes::kEffectAtOnce)) {
      defaults.emplace(field.key, field.default_text);
    }
  }
  return defaults;
}

std::string ConfigReader::MarkdownTable() const {
  std::string table =
      "| key | type | default | limits | hot or restart | environment variable | |\n"
      "|---|---|---|---|---|---|---|\n";
  for (const Field& field : fields_) {
    table += fmt::format("| {} | {} | {} | {} | {} | {} | {} |\n", MarkdownCode(field.key),
                         field.type, MarkdownCode(field.default_text), MarkdownCell(field.limits),
                         field.hot ? "hot" : "restart", MarkdownCode(field.environment),
                         MarkdownCell(field.advice));
  }
  return table;
}

}  // namespace bulla
