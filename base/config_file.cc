#include "base/config_file.h"

#include <fmt/format.h>
#include <set>
#include <sstream>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

namespace bulla {
namespace {

// Takes the parser's events and gathers entries. A refusal is thrown as the parser throws its own,
// with the place, and ParseConfigFile catches both.
class Flattener final : public YAML::EventHandler {
 public:
  std::vector<ConfigEntry> entries;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    CheckPlain(mark, "", anchor);
    if (levels_.empty()) return;  // an empty file
    if (levels_.back().kind == Kind::kList || !levels_.back().has_key) {
      Refuse(mark, "nothing where a text is wanted");
    }
    Add(mark, ConfigEntry::Kind::kNothing, {});
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    CheckPlain(mark, tag, anchor);
    if (levels_.empty()) Refuse(mark, "a text where sections of keys are wanted");
    Level& level = levels_.back();
    if (level.kind == Kind::kList) {
      entries.back().texts.push_back(text);
    } else if (!level.has_key) {
      TakeKey(mark, text);
    } else {
      Add(mark, ConfigEntry::Kind::kText, {text});
    }
  }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    CheckPlain(mark, tag, anchor);
    std::string prefix;
    if (!levels_.empty()) {
      prefix = TakeNesting(mark) + ".";
    }
    levels_.push_back({Kind::kSection, std::move(prefix), "", false});
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    CheckPlain(mark, tag, anchor);
    if (levels_.empty()) Refuse(mark, "a list where sections of keys are wanted");
    std::string key = TakeNesting(mark);
    entries.push_back({std::move(key), mark.line + 1, ConfigEntry::Kind::kList, {}});
    levels_.push_back({Kind::kList, "", "", false});
  }

  void OnMapEnd() override { levels_.pop_back(); }
  void OnSequenceEnd() override { levels_.pop_back(); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Refuse(mark, "aliases are not taken");
  }

 private:
  enum class Kind { kSection, kList };
  struct Level {
    Kind kind;
    std::string prefix;  // of the keys in it
    std::string key;     // the one whose value comes next
    bool has_key;
  };

  [[noreturn]] static void Refuse(const YAML::Mark& mark, const std::string& what) {
    throw YAML::ParserException(mark, what);
  }

  static void CheckPlain(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) Refuse(mark, "anchors are not taken");
    // The parser's own marks for plain and quoted texts.
    if (!tag.empty() && tag != "?" && tag != "!") Refuse(mark, "tags are not taken");
  }

  void TakeKey(const YAML::Mark& mark, const std::string& text) {
    Level& level = levels_.back();
    if (text.empty()) Refuse(mark, "an empty key");
    level.key = level.prefix + text;
    level.has_key = true;
    if (!seen_.insert(level.key).second) Refuse(mark, level.key + ": here for the second time");
  }

  // The key that a section or list, which begins here, belongs to.
  std::string TakeNesting(const YAML::Mark& mark) {
    Level& level = levels_.back();
    if (levels_.size() >= kConfigDepthMax) Refuse(mark, "nested too deeply");
    if (level.kind == Kind::kList) Refuse(mark, "a list holds texts only");
    if (!level.has_key) Refuse(mark, "a key must be a text");
    level.has_key = false;
    return level.key;
  }

  void Add(const YAML::Mark& mark, ConfigEntry::Kind kind, std::vector<std::string> texts) {
    entries.push_back({levels_.back().key, mark.line + 1, kind, std::move(texts)});
    levels_.back().has_key = false;
  }

  std::vector<Level> levels_;
  std::set<std::string> seen_;
};

}  // namespace

absl::StatusOr<std::vector<ConfigEntry>> ParseConfigFile(std::string_view yaml,
                                                         std::string_view name) {
  if (yaml.size() > kConfigFileBytesMax) {
    return absl::InvalidArgumentError(
        fmt::format("{}: larger than the {} bytes that are read", name, kConfigFileBytesMax));
  }
  Flattener flattener;
  try {
    std::istringstream stream{std::string(yaml)};
    YAML::Parser parser(stream);
    parser.HandleNextDocument(flattener);
    Flattener further;
    if (parser.HandleNextDocument(further)) {
      return absl::InvalidArgumentError(fmt::format("{}: more than one YAML document", name));
    }
  } catch (const YAML::Exception& refused) {
    return absl::InvalidArgumentError(
        fmt::format("{}:{}: {}", name, refused.mark.line + 1, refused.msg));
  }
  return std::move(flattener.entries);
}

}  // namespace bulla
