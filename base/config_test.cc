#include "base/config.h"

#include <cstdio>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

namespace bulla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

struct TestConfig {
  std::string listen = "127.0.0.1:8080";
  std::string token_file;
  bool reflection = true;
  std::size_t body_max = 1024;
  int weight = -1;
  Hot<std::chrono::milliseconds> idle{15min};
  std::vector<std::string> enclaves = {"unix:/run/a"};
};

class Config : public ::testing::Test {
 protected:
  Config() {
    reader_.AddString("http.listen", &config_.listen, "HOST:PORT; port 0 picks a free one.");
    reader_.AddString("http.token_file", &config_.token_file, "Empty: no tokens.");
    reader_.AddInteger("http.body_max", &config_.body_max, "bytes", 1, 65536, "A batch of 512.");
    reader_.AddDuration("http.idle_timeout", &config_.idle, 1s, 1h, "Longer than a caller's.");
    reader_.AddBool("grpc.reflection", &config_.reflection, "For grpcurl | others.");
    reader_.AddInteger("grpc.weight", &config_.weight, "", -5, 5, "Rarely of use.");
    reader_.AddStringList("enclaves", &config_.enclaves, 3, "One address each.");
    reader_.MarkHot("enclaves");
  }

  absl::Status Load(std::string_view yaml) {
    return reader_.LoadText(yaml, "gateway.yaml", [this](const char* name) -> const char* {
      auto found = environment_.find(name);
      return found == environment_.end() ? nullptr : found->second.c_str();
    });
  }
  std::string Error(std::string_view yaml) {
    absl::Status status = Load(yaml);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << yaml;
    return std::string(status.message());
  }

  TestConfig config_;
  ConfigReader reader_;
  std::map<std::string, std::string> environment_;
};

TEST_F(Config, DefaultsStandWhereNothingIsSaid) {
  for (const char* yaml : {"", "# nothing\n", "---\n", "http:\n  # listen: later\n", "{}"}) {
    EXPECT_EQ(Load(yaml), absl::OkStatus()) << yaml;
  }
  EXPECT_EQ(config_.listen, "127.0.0.1:8080");
  EXPECT_EQ(config_.idle.Get(), 15min);
  EXPECT_EQ(reader_.Where("http.listen"), "default: http.listen");
}

TEST_F(Config, EveryTypeIsReadFromTheFile) {
  EXPECT_EQ(Load("http:\n"
                 "  listen: '[::1]:0'\n"
                 "  token_file: /etc/bulla/tokens\n"
                 "  body_max: 65536\n"
                 "  idle_timeout: 1500ms\n"
                 "grpc: {reflection: false, weight: -5}\n"
                 "enclaves:\n"
                 "  - unix:/run/b\n"
                 "  - vsock:16:7000\n"),
            absl::OkStatus());
  EXPECT_EQ(config_.listen, "[::1]:0");
  EXPECT_EQ(config_.token_file, "/etc/bulla/tokens");
  EXPECT_EQ(config_.body_max, 65536u);
  EXPECT_EQ(config_.idle.Get(), 1500ms);
  EXPECT_FALSE(config_.reflection);
  EXPECT_EQ(config_.weight, -5);
  EXPECT_THAT(config_.enclaves, ElementsAre("unix:/run/b", "vsock:16:7000"));
  EXPECT_EQ(reader_.Where("http.idle_timeout"), "gateway.yaml:5: http.idle_timeout");
}

TEST_F(Config, TheEnvironmentOverridesTheFile) {
  environment_ = {{"BULLA_HTTP_IDLE_TIMEOUT", "3s"},
                  {"BULLA_GRPC_REFLECTION", "false"},
                  {"BULLA_ENCLAVES", "a,b"}};
  EXPECT_EQ(Load("http: {idle_timeout: 2s, body_max: 7}"), absl::OkStatus());
  EXPECT_EQ(config_.idle.Get(), 3s);
  EXPECT_EQ(config_.body_max, 7u);
  EXPECT_FALSE(config_.reflection);
  EXPECT_THAT(config_.enclaves, ElementsAre("a", "b"));
  EXPECT_EQ(reader_.Where("http.idle_timeout"), "BULLA_HTTP_IDLE_TIMEOUT: http.idle_timeout");
}

TEST_F(Config, ErrorsNameFileLineKeyWhatArrivedAndWhatWasWanted) {
  EXPECT_EQ(Error("http:\n  body_max: 65537\n"),
            "gateway.yaml:2: http.body_max: \"65537\", want an integer, 1 to 65536 bytes");
  EXPECT_EQ(Error("http:\n  idle_timeout: 15\n"),
            "gateway.yaml:2: http.idle_timeout: \"15\", want a duration such as 250ms, 3s or 15m, "
            "1s to 1h");
  EXPECT_EQ(Error("\n\nhttp: {lisen: x}\n"), "gateway.yaml:3: \"http.lisen\": no such key");
  environment_ = {{"BULLA_GRPC_REFLECTION", "yes"}};
  EXPECT_EQ(Error(""), "BULLA_GRPC_REFLECTION: grpc.reflection: \"yes\", want true or false");
}

TEST_F(Config, WrongTypesAreRefused) {
  for (const char* yaml : {"http: {body_max: many}",
                           "http: {body_max: 1.5}",
                           "http: {body_max: 0x10}",
                           "http: {body_max: }",
                           "http: {body_max: [1]}",
                           "http: {body_max: {a: 1}}",
                           "http: {body_max: 99999999999999999999}",
                           "http: {body_max: -1}",
                           "http: {body_max: ''}",
                           "grpc: {reflection: 1}",
                           "grpc: {reflection: True}",
                           "http: {idle_timeout: 3 s}",
                           "http: {idle_timeout: -3s}",
                           "http: {idle_timeout: s}",
                           "http: {idle_timeout: 1.5s}",
                           "http: {idle_timeout: 1500500us}",
                           "http: {idle_timeout: 9999999999999999999h}",
                           "http: {idle_timeout: 9000000000h}",
                           "http: {listen: ''}",
                           "http: {listen: [a]}",
                           "http: text",
                           "http: [a]",
                           "enclaves: a",
                           "enclaves: [a, b, c, d]",
                           "enclaves: [a, '']",
                           "enclaves: [[a]]",
                           "enclaves: [{a: b}]",
                           "enclaves:\n  -\n"}) {
    EXPECT_THAT(Error(yaml), HasSubstr("gateway.yaml:")) << yaml;
  }
}

TEST_F(Config, LimitsThemselvesAreTaken) {
  for (const char* yaml :
       {"http: {body_max: 1}", "http: {body_max: 65536}", "http: {idle_timeout: 1s}",
        "http: {idle_timeout: 60m}", "grpc: {weight: -5}", "grpc: {weight: 5}", "enclaves: []",
        "enclaves: [a, b, c]", "http: {token_file: ''}"}) {
    EXPECT_EQ(Load(yaml), absl::OkStatus()) << yaml;
  }
  for (const char* yaml :
       {"http: {body_max: 0}", "http: {idle_timeout: 999ms}", "http: {idle_timeout: 3601s}",
        "grpc: {weight: -6}", "grpc: {weight: 6}"}) {
    Error(yaml);
  }
  EXPECT_EQ(Load("http: {token_file: " + std::string(ConfigReader::kTextBytesMax, 'x') + "}"),
            absl::OkStatus());
  Error("http: {token_file: " + std::string(ConfigReader::kTextBytesMax + 1, 'x') + "}");
}

TEST_F(Config, AKeyTwiceIsRefused) {
  EXPECT_THAT(Error("http:\n  listen: a:1\n  listen: a:1\n"),
              HasSubstr("gateway.yaml:3: http.listen"));
  EXPECT_THAT(Error("http: {listen: a:1}\ngrpc: {weight: 1}\nhttp: {body_max: 3}\n"),
              HasSubstr("gateway.yaml:3: http"));
  EXPECT_THAT(Error("http: {listen: a:1}\nhttp.listen: b:1\n"), HasSubstr("gateway.yaml:2:"));
}

TEST_F(Config, YamlThatHasNoBusinessHereIsRefused) {
  EXPECT_THAT(Error("a: &x [1]\nb: *x\n"), HasSubstr("anchors"));
  EXPECT_THAT(Error("http: {listen: !!str a}"), HasSubstr("tags"));
  EXPECT_THAT(Error("http: {listen: a:1}\n---\nhttp: {}\n"), HasSubstr("more than one"));
  EXPECT_THAT(Error("{a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}}"), HasSubstr("deep"));
  EXPECT_THAT(Error(std::string(60000, '[')), HasSubstr("gateway.yaml:1:"));
  EXPECT_THAT(Error("http: {listen: 'a"), HasSubstr("gateway.yaml:1:"));
  Error("- a\n- b\n");
  Error("text");
  Error("? [a]\n: b\n");
  Error("http: {listen: a:1, '': b}");
}

TEST_F(Config, AFileOverTheLimitIsRefused) {
  EXPECT_EQ(Load(std::string(kConfigFileBytesMax, '\n')), absl::OkStatus());
  EXPECT_THAT(Error(std::string(kConfigFileBytesMax + 1, '\n')), HasSubstr("65536"));
}

TEST_F(Config, LoadReadsAFileAndNamesOneThatIsMissing) {
  auto none = [](const char*) -> const char* { return nullptr; };
  std::string pattern = std::filesystem::temp_directory_path() / "bulla-config-XXXXXX";
  std::filesystem::path directory = ::mkdtemp(pattern.data());
  std::string path = directory / "a.yaml";
  EXPECT_THAT(reader_.Load(path, none).ToString(), HasSubstr(path));
  std::FILE* file = std::fopen(path.c_str(), "w");
  std::fputs("http: {body_max: 99}\n", file);
  std::fclose(file);
  EXPECT_EQ(reader_.Load(path, none), absl::OkStatus());
  EXPECT_EQ(config_.body_max, 99u);
  EXPECT_FALSE(reader_.Load(directory, none).ok()) << "a directory is no file";
  std::filesystem::remove_all(directory);
}

TEST_F(Config, ArrivedTextIsCutAndHarmlessInMessages) {
  EXPECT_THAT(Error("http: {body_max: \"\\e[31m" + std::string(100, 'x') + "\"}"),
              HasSubstr("\"?[31m" + std::string(55, 'x') + "...\""));
}

TEST_F(Config, TableShowsEveryKey) {
  EXPECT_EQ(
      reader_.MarkdownTable(),
      "| key | type | default | limits | hot or restart | environment variable | |\n"
      "|---|---|---|---|---|---|---|\n"
      "| `http.listen` | text | `127.0.0.1:8080` |  | restart | `BULLA_HTTP_LISTEN` | HOST:PORT; "
      "port 0 "
      "picks a free one. |\n"
      "| `http.token_file` | text |  |  | restart | `BULLA_HTTP_TOKEN_FILE` | Empty: no tokens. |\n"
      "| `http.body_max` | integer | `1024` | 1 to 65536 bytes | restart | `BULLA_HTTP_BODY_MAX` | "
      "A batch "
      "of 512. |\n"
      "| `http.idle_timeout` | duration | `15m` | 1s to 1h | hot | `BULLA_HTTP_IDLE_TIMEOUT` | "
      "Longer "
      "than a caller's. |\n"
      "| `grpc.reflection` | bool | `true` |  | restart | `BULLA_GRPC_REFLECTION` | For grpcurl "
      "\\| others. "
      "|\n"
      "| `grpc.weight` | integer | `-1` | -5 to 5 | restart | `BULLA_GRPC_WEIGHT` | Rarely of use. "
      "|\n"
      "| `enclaves` | list of texts | `unix:/run/a` | at most 3 | hot | `BULLA_ENCLAVES` | One "
      "address "
      "each. |\n");
}

TEST_F(Config, DefaultsAreWhatTheMembersHeldAtRegistration) {
  using Takes = ConfigReader::Takes;
  using Values = std::map<std::string, std::string>;
  config_.body_max = 99;
  config_.idle = 20min;
  ConfigReader reader;
  reader.AddInteger("http.body_max", &config_.body_max, "bytes", 1, 65536, "");
  reader.AddDuration("http.idle_timeout", &config_.idle, 1s, 1h, "");
  config_.body_max = 100;
  config_.idle = 30min;
  EXPECT_EQ(reader.Defaults(Takes::kRestart), (Values{{"http.body_max", "99"}}));
  EXPECT_EQ(reader.Defaults(Takes::kEffectAtOnce), (Values{{"http.idle_timeout", "20m"}}));
}

TEST_F(Config, AKeyIsHotByItsMembersTypeOrBecauseItIsMarked) {
  const auto hot = [this] {
    std::vector<std::string> keys;
    for (const auto& [key, value] : reader_.Defaults(ConfigReader::Takes::kEffectAtOnce)) {
      keys.push_back(key);
    }
    return keys;
  };
  EXPECT_THAT(hot(), ElementsAre("enclaves", "http.idle_timeout"));
  reader_.MarkHot("grpc");
  EXPECT_THAT(hot(),
              ElementsAre("enclaves", "grpc.reflection", "grpc.weight", "http.idle_timeout"));
}

TEST(HotSetting, WhoHoldsAReferenceSeesWhatIsTakenOver) {
  struct Settings {
    Hot<std::chrono::milliseconds> timeout{5ms};
    Hot<int> count{1};
  };
  Settings live;
  const Hot<std::chrono::milliseconds>& reader = live.timeout;
  Settings changed;
  changed.timeout = 7ms;
  live = changed;
  changed.timeout = 9ms;
  EXPECT_EQ(reader.Get(), 7ms);
}

TEST(ConfigDuration, WhatIsFormattedIsParsedBack) {
  for (std::chrono::nanoseconds duration :
       {0ns, std::chrono::nanoseconds(1us), std::chrono::nanoseconds(250ms),
        std::chrono::nanoseconds(90s), std::chrono::nanoseconds(15min),
        std::chrono::nanoseconds(48h)}) {
    EXPECT_EQ(internal::ParseDuration(internal::FormatDuration(duration)).value(), duration);
  }
  EXPECT_EQ(internal::FormatDuration(15min), "15m");
  EXPECT_EQ(internal::FormatDuration(1500ms), "1500ms");
}

}  // namespace
}  // namespace bulla
