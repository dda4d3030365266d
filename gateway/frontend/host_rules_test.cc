#include "gateway/frontend/host_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace bulla {
namespace {

using ::testing::HasSubstr;

HostRules Rules(const std::vector<std::string>& allowed) {
  absl::StatusOr<HostRules> rules = HostRules::Parse(allowed);
  EXPECT_TRUE(rules.ok()) << rules.status();
  return rules.ok() ? *rules : HostRules();
}

TEST(HostRules, LoopbackNamesAndLiteralAddressesAreTakenAndNoOthers) {
  HostRules rules;
  for (const char* host :
       {"localhost", "LOCALHOST:8080", "localhost.", "localhost.:80", "app.localhost",
        "a.b.LocalHost.:1", "127.0.0.1", "127.0.0.1:8080", "10.0.0.7:", "192.168.1.2", "0.0.0.0",
        "[::1]", "[::1]:8080", "[2001:db8::7]", "[::ffff:127.0.0.1]"}) {
    EXPECT_TRUE(rules.Allow(host)) << host;
  }
  for (const char* host : {"",
                           ".",
                           ":8080",
                           "evil.example",
                           "localhost.evil.example",
                           "evillocalhost",
                           ".localhost",
                           "127.0.0.1.evil.example",
                           "127.1",
                           "0x7f.0.0.1",
                           "2130706433",
                           "127.0.0.01",
                           "127.0.0.1.",
                           "localhost..",
                           "local%68ost",
                           "[::1",
                           "::1",
                           "[evil.example]",
                           "localhost:8080:1",
                           "localhost:x",
                           "a@localhost",
                           "localhost/",
                           "[::1]x",
                           "[fe80::1%25eth0]"}) {
    EXPECT_FALSE(rules.Allow(host)) << host;
  }
}

TEST(HostRules, NamesOfTheSettingAreTakenAndThoseBelowAWildcard) {
  HostRules rules = Rules({"Sign.example.com", "gateway", "*.Internal.example."});
  for (const char* host : {"sign.example.com", "SIGN.EXAMPLE.COM.:443", "gateway:8080",
                           "a.internal.example", "a.b.internal.example.", "localhost"}) {
    EXPECT_TRUE(rules.Allow(host)) << host;
  }
  for (const char* host : {"example.com", "x.sign.example.com", "internal.example",
                           "xinternal.example", ".internal.example", "gateway.example"}) {
    EXPECT_FALSE(rules.Allow(host)) << host;
  }
}

TEST(HostRules, SettingThatIsNoNameIsRefused) {
  for (const char* bad : {"", "*", "*.", ".", "http://a", "a:80", "a/b", "a.*", "*a.b", "a b",
                          "*.*.a", ".a", "*..a", "%41"}) {
    EXPECT_THAT(std::string(HostRules::Parse({bad}).status().message()), HasSubstr("want a name"))
        << bad;
  }
}

}  // namespace
}  // namespace bulla
