#include "enclave/enclave_config.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

namespace bulla {
namespace {

absl::Status Load(EnclaveConfig& config, std::string_view yaml) {
  ConfigReader reader;
  RegisterSettings(config, reader);
  BULLA_RETURN_IF_ERROR(
      reader.LoadText(yaml, "enclave.yaml", [](const char*) -> const char* { return nullptr; }));
  return Validate(config, reader);
}

constexpr std::string_view kNitro =
    "kms:\n"
    "  host: kms.eu-central-1.amazonaws.com\n"
    "  region: eu-central-1\n"
    "  key_arn: arn:aws:kms:eu-central-1:111122223333:key/1\n";

TEST(EnclaveConfig, ProductionNeedsNoMoreThanItsKmsKey) {
  EnclaveConfig config;
  EXPECT_TRUE(Load(config, kNitro).ok());
  EXPECT_EQ(config.platform, "nitro");
}

TEST(EnclaveConfig, InProductionItListensAndDialsOverVsockAlone) {
  for (const auto& [line, named] : {std::pair{"listen: unix:/run/e1.sock\n", "listen"},
                                    {"listen: tcp:127.0.0.1:7000\n", "listen"},
                                    {"  dial: tcp:127.0.0.1:8000\n", "kms.dial"},
                                    {"  dial: nowhere\n", "kms.dial"}}) {
    EnclaveConfig config;
    absl::Status status = Load(config, std::string(kNitro) + line);
    EXPECT_NE(std::string(status.message()).find(named), std::string::npos) << status;
  }
}

TEST(EnclaveConfig, TheCeilingsOfTheImageCannotBeRaised) {
  for (const char* line : {"plain_key:\n  ttl_hard: 17m\n", "plain_key:\n  uses_max: 1000001\n",
                           "dek:\n  ttl_hard: 61m\n"}) {
    EnclaveConfig config;
    EXPECT_EQ(Load(config, std::string(kNitro) + line).code(), absl::StatusCode::kInvalidArgument)
        << line;
  }
}

TEST(EnclaveConfig, ASoftTtlBeyondTheHardOneIsAContradiction) {
  EnclaveConfig config;
  absl::Status status = Load(config, std::string(kNitro) + "plain_key:\n  ttl_hard: 10m\n");
  EXPECT_NE(std::string(status.message()).find("plain_key.ttl_soft"), std::string::npos) << status;
}

TEST(EnclaveConfig, SimulatedPartsBelongToASimulatedPlatform) {
  EnclaveConfig config;
  EXPECT_FALSE(Load(config, std::string(kNitro) + "simulated:\n  root_dir: /tmp/nsm\n").ok());
  config = {};
  EXPECT_FALSE(Load(config, std::string(kNitro) + "platform: simulated\n").ok());
  config = {};
  EXPECT_FALSE(Load(config, std::string(kNitro) + "platform: nitrous\n").ok());
}

TEST(EnclaveConfig, ALogLevelIsOneOfFourWords) {
  EnclaveConfig config;
  EXPECT_TRUE(Load(config, std::string(kNitro) + "log_level: debug\n").ok());
  absl::Status status = Load(config, std::string(kNitro) + "log_level: warning\n");
  EXPECT_NE(std::string(status.message()).find("log_level: got \"warning\""), std::string::npos)
      << status;
}

TEST(EnclaveConfig, SignaturesAreCheckedInProduction) {
  EnclaveConfig config;
  ASSERT_TRUE(Load(config, kNitro).ok());
  EXPECT_EQ(SignatureCheckOf(config), SignatureCheck::kRecompute);
  ASSERT_TRUE(Load(config, std::string(kNitro) + "signature_check: verify\n").ok());
  EXPECT_EQ(SignatureCheckOf(config), SignatureCheck::kVerify);
  EXPECT_FALSE(Load(config, std::string(kNitro) + "signature_check: none\n").ok());
  EXPECT_FALSE(Load(config, std::string(kNitro) + "signature_check: some\n").ok());
  const std::string simulated =
      std::string(kNitro) + "platform: simulated\nsimulated:\n  root_dir: /tmp/nsm\n";
  ASSERT_TRUE(Load(config, simulated + "signature_check: none\n").ok());
  EXPECT_EQ(SignatureCheckOf(config), SignatureCheck::kNone);
}

TEST(EnclaveConfig, WhatGoesIntoRequestsToKmsHasNothingThatEndsALine) {
  for (const char* name : {"host", "region", "key_arn"}) {
    EnclaveConfig config;
    std::string text = "kms:\n";
    for (const char* other : {"host", "region", "key_arn"}) {
      text += std::string("  ") + other + (other == name ? ": \"a\\r\\nb: c\"\n" : ": abc\n");
    }
    absl::Status status = Load(config, text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_NE(std::string(status.message()).find(std::string("kms.") + name), std::string::npos);
  }
}

TEST(EnclaveConfig, AMissingKeyArnIsNamedInTheError) {
  EnclaveConfig config;
  absl::Status status = Load(config, "kms:\n  host: h\n  region: r\n");
  EXPECT_NE(std::string(status.message()).find("kms.key_arn"), std::string::npos) << status;
}

TEST(EnclaveConfig, DocsConfigMdHasTheTableThatIsTrue) {
  const char* source_dir = std::getenv("BULLA_SOURCE_DIR");
  if (source_dir == nullptr) GTEST_SKIP() << "BULLA_SOURCE_DIR is not set (ctest sets it)";
  std::ifstream file(std::string(source_dir) + "/docs/config.md");
  std::string page(std::istreambuf_iterator<char>(file), {});
  EnclaveConfig config;
  ConfigReader reader;
  RegisterSettings(config, reader);
  std::string table = reader.MarkdownTable();
  EXPECT_NE(page.find(table), std::string::npos)
      << "docs/config.md should have this table for bulla-enclave:\n"
      << table;
}

}  // namespace
}  // namespace bulla
