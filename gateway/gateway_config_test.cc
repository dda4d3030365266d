#include "gateway/gateway_config.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

namespace bulla {
namespace {

absl::Status Load(GatewayConfig& config, std::string_view yaml) {
  ConfigReader reader;
  RegisterSettings(config, reader);
  BULLA_RETURN_IF_ERROR(
      reader.LoadText(yaml, "gateway.yaml", [](const char*) -> const char* { return nullptr; }));
  return Validate(config, reader);
}

constexpr std::string_view kLeast =
    "enclaves: [\"vsock:16:7000\"]\n"
    "credentials_file: /etc/bulla/credentials.json\n"
    "kms_forwarder:\n"
    "  target: kms.eu-central-1.amazonaws.com:443\n";

TEST(GatewayConfig, TheLeastThatMustBeSaidIsEnough) {
  GatewayConfig config;
  EXPECT_TRUE(Load(config, kLeast).ok());
  EXPECT_EQ(SqlitePath(config), "/var/lib/bulla/bulla.db");
}

TEST(GatewayConfig, WhatIsMissingOrUnknownIsNamedInTheError) {
  struct Case {
    std::string yaml;
    std::string named;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"enclaves: [\"vsock:16:7000\"]\ncredentials_file: /c\n", "kms_forwarder.target"},
           {"credentials_file: /c\nkms_forwarder:\n  target: a:1\n", "enclaves"},
           {std::string(kLeast) + "store: mysql://x\n", "store"},
           {std::string(kLeast) + "stroe: sqlite:///x\n", "stroe"},
           {std::string(kLeast) + "streams_per_enclave: 33\n", "streams_per_enclave"}}) {
    GatewayConfig config;
    absl::Status status = Load(config, c.yaml);
    EXPECT_FALSE(status.ok()) << c.yaml;
    EXPECT_NE(std::string(status.message()).find(c.named), std::string::npos) << status;
  }
}

TEST(GatewayConfig, DocsConfigMdHasTheTableThatIsTrue) {
  const char* source_dir = std::getenv("BULLA_SOURCE_DIR");
  if (source_dir == nullptr) GTEST_SKIP() << "BULLA_SOURCE_DIR is not set (ctest sets it)";
  std::ifstream file(std::string(source_dir) + "/docs/config.md");
  std::string page(std::istreambuf_iterator<char>(file), {});
  GatewayConfig config;
  ConfigReader reader;
  RegisterSettings(config, reader);
  std::string table = reader.MarkdownTable();
  EXPECT_NE(page.find(table), std::string::npos)
      << "docs/config.md should have this table for bulla-gateway:\n"
      << table;
}

}  // namespace
}  // namespace bulla
