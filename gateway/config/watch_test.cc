#include "gateway/config/watch.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

#include "base/file.h"

namespace bulla {
namespace {

using std::chrono::minutes;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kLeast[] =
    "enclaves: [\"vsock:16:7000\"]\n"
    "credentials_file: /etc/bulla/credentials.json\n"
    "kms_forwarder: {target: \"kms.eu-central-1.amazonaws.com:443\"}\n";

std::string WithDekTtl(const std::string& ttl) {
  return std::string(kLeast) + "key_policy: {dek: {ttl_hard: " + ttl + "}}\n";
}

class ConfigWatchTest : public testing::Test {
 protected:
  ConfigWatchTest() {
    char name[] = "/tmp/bulla-watch-XXXXXX";
    dir_ = ::mkdtemp(name);
    path_ = dir_ + "/gateway.yaml";
  }
  ~ConfigWatchTest() override { std::filesystem::remove_all(dir_); }

  // Another file under the name, as an editor or a ConfigMap leaves it.
  void Replace(const std::string& text) { ASSERT_TRUE(WriteFileAtomically(path_, text).ok()); }
  ConfigWatch Load() {
    absl::StatusOr<ConfigWatch> watch = ConfigWatch::Load(path_, [this](const char* name) {
      auto it = environment_.find(name);
      return it == environment_.end() ? nullptr : it->second.c_str();
    });
    EXPECT_TRUE(watch.ok()) << watch.status();
    return *std::move(watch);
  }
  // The hard TTLs, in minutes, of the policies that come out of a number of looks.
  std::vector<long> Looks(ConfigWatch& watch, int count) {
    std::vector<long> ttls;
    for (int i = 0; i < count; ++i) {
      now_ += ConfigWatch::kLookInterval;
      std::optional<GatewayConfig> config = watch.Tick(now_);
      if (!config) continue;
      ttls.push_back(std::chrono::duration_cast<minutes>(config->key_policy.dek_ttl_hard).count());
    }
    return ttls;
  }

  std::string dir_;
  std::string path_;
  std::map<std::string, std::string> environment_;
  MonotonicTime now_;
};

TEST_F(ConfigWatchTest, AChangedFileIsTakenOnceAndAnUnchangedOneNever) {
  Replace(WithDekTtl("50m"));
  ConfigWatch watch = Load();
  EXPECT_EQ(watch.running().key_policy.dek_ttl_hard, minutes(50));
  EXPECT_THAT(Looks(watch, 5), ElementsAre());
  Replace(WithDekTtl("40m"));
  EXPECT_THAT(Looks(watch, 5), ElementsAre(40));
  Replace(kLeast);
  EXPECT_THAT(Looks(watch, 5), ElementsAre(0)) << "what is asked for no more is taken back";
  EXPECT_EQ(watch.running().key_policy.dek_ttl_hard, minutes(50)) << "it was started with that";
}

TEST_F(ConfigWatchTest, AChangeIsTakenWithinASecondAndNotLookedForAtEachTick) {
  Replace(kLeast);
  ConfigWatch watch = Load();
  EXPECT_FALSE(watch.Tick(now_));
  Replace(WithDekTtl("40m"));
  int taken_after_ms = 0;
  for (int ms = 5; taken_after_ms == 0 && ms < 5000; ms += 5) {
    if (watch.Tick(now_ + std::chrono::milliseconds(ms))) taken_after_ms = ms;
  }
  EXPECT_GE(taken_after_ms, 500);
  EXPECT_LE(taken_after_ms, 1000);
}

TEST_F(ConfigWatchTest, AFileThatIsStillBeingWrittenIsLeftUntilItRests) {
  Replace(WithDekTtl("50m"));
  ConfigWatch watch = Load();
  std::ofstream file(path_, std::ios::trunc);
  file << kLeast << std::flush;
  EXPECT_THAT(Looks(watch, 1), ElementsAre());
  file << "# a comment\n" << std::flush;
  EXPECT_THAT(Looks(watch, 1), ElementsAre());
  file << "key_policy: {dek: {ttl_hard: 30m}}\n" << std::flush;
  EXPECT_THAT(Looks(watch, 3), ElementsAre(30));
}

TEST_F(ConfigWatchTest, ABadFileIsRefusedWholeAndSaidWhy) {
  Replace(WithDekTtl("50m"));
  ConfigWatch watch = Load();
  Replace(WithDekTtl("40m") + "no_such_key: 1\n");
  EXPECT_THAT(Looks(watch, 5), ElementsAre());
  EXPECT_THAT(watch.refused(), HasSubstr("no_such_key"));
  Replace(WithDekTtl("2h"));
  EXPECT_THAT(Looks(watch, 5), ElementsAre());
  EXPECT_THAT(watch.refused(), HasSubstr("key_policy.dek.ttl_hard"));
  Replace(WithDekTtl("30m"));
  EXPECT_THAT(Looks(watch, 5), ElementsAre(30));
  EXPECT_EQ(watch.refused(), "");
}

TEST_F(ConfigWatchTest, AFileThatIsGoneIsRefusedAndTakenWhenItIsBack) {
  Replace(WithDekTtl("50m"));
  ConfigWatch watch = Load();
  std::filesystem::remove(path_);
  EXPECT_THAT(Looks(watch, 5), ElementsAre());
  EXPECT_THAT(watch.refused(), HasSubstr(path_));
  Replace(WithDekTtl("30m"));
  EXPECT_THAT(Looks(watch, 5), ElementsAre(30));
}

TEST_F(ConfigWatchTest, AConfigMapsSwapOfASymlinkIsNoticed) {
  for (const char* version : {"1", "2"}) std::filesystem::create_directory(dir_ + "/" + version);
  std::ofstream(dir_ + "/1/gateway.yaml") << WithDekTtl("50m");
  std::ofstream(dir_ + "/2/gateway.yaml") << WithDekTtl("40m");
  std::filesystem::create_directory_symlink("1", dir_ + "/data");
  std::filesystem::create_symlink("data/gateway.yaml", path_);
  ConfigWatch watch = Load();
  std::filesystem::create_directory_symlink("2", dir_ + "/data.new");
  std::filesystem::rename(dir_ + "/data.new", dir_ + "/data");
  EXPECT_THAT(Looks(watch, 5), ElementsAre(40));
}

TEST_F(ConfigWatchTest, TheEnvironmentStillOverridesAChangedFile) {
  environment_["BULLA_KEY_POLICY_DEK_TTL_HARD"] = "20m";
  Replace(kLeast);
  ConfigWatch watch = Load();
  EXPECT_EQ(watch.running().key_policy.dek_ttl_hard, minutes(20));
  Replace(WithDekTtl("40m"));
  EXPECT_THAT(Looks(watch, 5), ElementsAre(20));
}

TEST_F(ConfigWatchTest, OtherSettingsThatChangedAreNamedAndThePolicyIsTaken) {
  Replace(kLeast);
  ConfigWatch watch = Load();
  Replace(WithDekTtl("40m") + "store: sqlite:///other\nhttp: {threads: 4}\n");
  EXPECT_THAT(Looks(watch, 5), ElementsAre(40));
  EXPECT_THAT(watch.restart_needed(), ElementsAre("http.threads", "store"));
  Replace(WithDekTtl("40m"));
  EXPECT_THAT(Looks(watch, 5), ElementsAre(40));
  EXPECT_THAT(watch.restart_needed(), ElementsAre()) << "as it runs";
}

TEST_F(ConfigWatchTest, WhenToldToItReadsAnUnchangedFileToo) {
  Replace(WithDekTtl("50m"));
  ConfigWatch watch = Load();
  watch.ReadAnyway();
  EXPECT_THAT(Looks(watch, 5), ElementsAre(50));
}

TEST_F(ConfigWatchTest, ABadFileAtStartIsAnError) {
  Replace("no_such_key: 1\n");
  EXPECT_FALSE(ConfigWatch::Load(path_).ok());
}

TEST_F(ConfigWatchTest, AReportSaysWhatTheWatchLastFound) {
  Replace(kLeast);
  ConfigWatch watch = Load();
  HotSettings live;
  ConfigReport report(watch.running(), live);
  report.Take(watch);
  EXPECT_TRUE(report.state().refused.empty());
  Replace("nonsense: true\n");
  Looks(watch, 2);
  EXPECT_TRUE(report.state().refused.empty()) << "it was not told yet";
  report.Take(watch);
  EXPECT_THAT(report.state().refused, HasSubstr("nonsense"));
  Replace(std::string(kLeast) + "http: {threads: 7}\n");
  Looks(watch, 2);
  report.Take(watch);
  EXPECT_TRUE(report.state().refused.empty());
  EXPECT_THAT(report.state().restart_needed, ElementsAre("http.threads"));
  EXPECT_EQ(report.state().hot.at("sign_timeout"), "1s");
  live.calls.sign_timeout = std::chrono::milliseconds(250);
  EXPECT_EQ(report.state().hot.at("sign_timeout"), "250ms") << "what is read is what is shown";
}

TEST_F(ConfigWatchTest, EnclavesThatDoNotFitThePlatformItStartedOnAreRefusedWhateverTheFileSays) {
  Replace(kLeast);
  ConfigWatch watch = Load();
  std::string text = kLeast;
  text.replace(text.find("vsock:16:7000"), 13, "tcp:127.0.0.1:7000");
  Replace(text);
  EXPECT_TRUE(Looks(watch, 2).empty());
  EXPECT_THAT(watch.refused(), HasSubstr("tcp:127.0.0.1:7000"));
  Replace("platform: simulated\n" + text);
  EXPECT_TRUE(Looks(watch, 2).empty());
  EXPECT_THAT(watch.refused(), HasSubstr("tcp:127.0.0.1:7000"));
  Replace(kLeast);
  EXPECT_EQ(Looks(watch, 2).size(), 1u);
}

}  // namespace
}  // namespace bulla
