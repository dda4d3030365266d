#include "gateway/config/gateway_config.h"

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

// Without its first line, the enclaves.
constexpr std::string_view kRest = kLeast.substr(kLeast.find('\n') + 1);

TEST(GatewayConfig, AnEnclaveMayHaveAWeight) {
  GatewayConfig config;
  ASSERT_TRUE(
      Load(config, "enclaves: [\"vsock:16:7\", \"vsock:17:7 weight=50\"]\n" + std::string(kRest))
          .ok());
  std::vector<EnclaveSpec> specs = *EnclaveSpecs(config.enclaves, config.platform);
  ASSERT_EQ(specs.size(), 2u);
  EXPECT_EQ(specs[0].weight, HashRing::kFullWeight);
  EXPECT_EQ(specs[1].weight, 50u);
  EXPECT_EQ(specs[1].address.ToString(), "vsock:17:7");
}

// Whoever is at such an address is sent the credentials for KMS.
TEST(GatewayConfig, InProductionAnEnclaveIsWhereOnlyAnEnclaveCanBe) {
  for (const char* address :
       {"vsock:0:7000", "vsock:1:7000", "vsock:2:7000", "vsock:3:7000", "vsock:4294967295:7000",
        "unix:/run/e1.sock", "tcp:127.0.0.1:7000", "tcp:10.0.0.1:7000"}) {
    const std::string yaml = "enclaves: [\"" + std::string(address) + "\"]\n" + std::string(kRest);
    GatewayConfig config;
    absl::Status status = Load(config, yaml);
    EXPECT_NE(std::string(status.message()).find("enclaves: address: got " + std::string(address)),
              std::string::npos)
        << status;
  }
  GatewayConfig config;
  EXPECT_TRUE(Load(config, "enclaves: [\"vsock:4:7000\"]\n" + std::string(kRest)).ok());
}

TEST(GatewayConfig, InDevelopmentAnEnclaveIsOnThisMachine) {
  for (const auto& [address, good] : {std::pair{"unix:/run/e1.sock", true},
                                      {"tcp:127.0.0.1:7000", true},
                                      {"vsock:1:7000", true},
                                      {"tcp:10.0.0.1:7000", false}}) {
    GatewayConfig config;
    absl::Status status = Load(config, "platform: simulated\nenclaves: [\"" + std::string(address) +
                                           "\"]\n" + std::string(kRest));
    EXPECT_EQ(status.ok(), good) << address << " " << status;
  }
}

TEST(GatewayConfig, InProductionTheWayToKmsIsVsockToo) {
  for (const char* listen : {"unix:/run/kms.sock", "tcp:127.0.0.1:8000", "nonsense"}) {
    GatewayConfig config;
    absl::Status status = Load(config, std::string(kLeast) + "  listen: " + listen + "\n");
    EXPECT_NE(std::string(status.message()).find("kms_forwarder.listen"), std::string::npos)
        << status;
  }
}

TEST(GatewayConfig, AFolderMayBeNamedLikeAWeight) {
  GatewayConfig config;
  ASSERT_TRUE(Load(config,
                   "platform: simulated\nenclaves: [\"unix:/a weight=b/s weight=50\", \"unix:/a "
                   "weight=7/s\"]\n" +
                       std::string(kRest))
                  .ok());
  std::vector<EnclaveSpec> specs = *EnclaveSpecs(config.enclaves, config.platform);
  EXPECT_EQ(specs[0].address.ToString(), "unix:/a weight=b/s");
  EXPECT_EQ(specs[0].weight, 50u);
  EXPECT_EQ(specs[1].weight, HashRing::kFullWeight);
}

TEST(GatewayConfig, ListenersAndTheTargetAreHostAndPort) {
  for (const char* wrong : {"http:\n  listen: \":8080\"\n", "grpc:\n  listen: \"::1:9090\"\n",
                            "admin:\n  listen: signer.example:9091\n"}) {
    GatewayConfig config;
    absl::Status status = Load(config, std::string(kLeast) + wrong);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << wrong;
    EXPECT_NE(std::string(status.message()).find("gateway.yaml:"), std::string::npos) << status;
  }
  GatewayConfig config;
  config.kms_forwarder_target = "kms.example:0";
  config.enclaves = {"unix:/a"};
  config.credentials_file = "/c";
  ConfigReader reader;
  RegisterSettings(config, reader);
  EXPECT_TRUE(absl::IsInvalidArgument(Validate(config, reader)));
}

TEST(GatewayConfig, AnEnclaveIsThereOnce) {
  GatewayConfig config;
  absl::Status status =
      Load(config, "enclaves: [\"vsock:16:7\", \"vsock:16:7 weight=50\"]\n" + std::string(kRest));
  EXPECT_NE(std::string(status.message()).find("twice"), std::string::npos) << status;
}

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
           {std::string(kLeast) + "pool:\n  streams_min: 33\n", "pool.streams_min"},
           {std::string(kLeast) + "pool:\n  streams_max: 15\n", "pool.streams_max"},
           {std::string(kLeast) + "platform: Nitro\n", "platform"},
           {std::string(kLeast) + "proxies:\n  trusted: [\"10.0.0.1/8\"]\n",
            "gateway.yaml:6: proxies.trusted: got \"10.0.0.1/8\""},
           {std::string(kLeast) + "proxies:\n  trusted: [\"10.0.0.0/8\"]\n  field: x-real-ip\n",
            "gateway.yaml:7: proxies.field: got \"x-real-ip\""},
           {std::string(kLeast) + "proxies:\n  field: forwarded\n", "proxies.field: nobody"},
           {std::string(kLeast) + "grpc:\n  proxy_protocol: true\n", "grpc.proxy_protocol: nobody"},
           {std::string(kLeast) + "admin:\n  socket: /" + std::string(107, 'x') + "\n",
            "admin.socket"},
           {std::string(kLeast) + "adopt_enclaves: [\"unix:/other\"]\n", "unix:/other"},
           {std::string(kLeast) + "idempotency_ttl: 59s\n", "idempotency_ttl"},
           {std::string(kLeast) + "retry_hint: {min: 300ms}\n",
            "retry_hint.max: got 200ms, want at least retry_hint.min, 300ms"},
           {std::string(kLeast) + "log_level: warning\n", "log_level: got \"warning\""},
           {"enclaves: [\"vsock:16:7 weight=1001\"]\n" + std::string(kRest), "weight=1001"}}) {
    GatewayConfig config;
    absl::Status status = Load(config, c.yaml);
    EXPECT_FALSE(status.ok()) << c.yaml;
    EXPECT_NE(std::string(status.message()).find(c.named), std::string::npos) << status;
  }
}

TEST(GatewayConfig, AKeyPolicyAsksForNothingUnlessItSaysSo) {
  GatewayConfig config;
  ASSERT_TRUE(Load(config, kLeast).ok());
  EXPECT_EQ(config.key_policy, NothingWanted());
  std::string yaml = std::string(kLeast) +
                     "key_policy:\n  plain_key:\n    refresh_window: 1m\n    ttl_hard: 10m\n"
                     "  dek:\n    ttl_soft: 5m\n";
  ASSERT_TRUE(Load(config, yaml).ok()) << "each fits some image";
  KeyPolicy wanted = NothingWanted();
  wanted.plain_key_refresh_window = std::chrono::minutes(1);
  wanted.plain_key_ttl_hard = std::chrono::minutes(10);
  wanted.dek_ttl_soft = std::chrono::minutes(5);
  EXPECT_EQ(config.key_policy, wanted);
}

TEST(GatewayConfig, AKeyPolicyThatContradictsItselfIsRefusedWithFileLineAndKey) {
  for (const auto& [policy, named] : std::initializer_list<std::pair<std::string, std::string>>{
           {"  dek:\n    ttl_hard: 5m\n    ttl_soft: 6m\n",
            "gateway.yaml:8: key_policy.dek.ttl_soft: got 6m"},
           {"  plain_key:\n    ttl_soft: 6m\n    ttl_hard: 5m\n",
            "gateway.yaml:7: key_policy.plain_key.ttl_soft: got 6m"},
           {"  plain_key:\n    ttl_hard: 5m\n    refresh_window: 6m\n",
            "gateway.yaml:8: key_policy.plain_key.refresh_window: got 6m"}}) {
    GatewayConfig config;
    absl::Status status = Load(config, std::string(kLeast) + "key_policy:\n" + policy);
    EXPECT_NE(std::string(status.message()).find(named), std::string::npos) << status;
  }
}

TEST(GatewayConfig, AllowedHostThatIsNoNameIsRefusedByName) {
  GatewayConfig config;
  EXPECT_TRUE(
      Load(config, std::string(kLeast) + "allowed_hosts: [a.example, '*.b.example']\n").ok());
  absl::Status status =
      Load(config, std::string(kLeast) + "allowed_hosts: ['https://a.example']\n");
  EXPECT_NE(std::string(status.message()).find("allowed_hosts: got \"https://a.example\""),
            std::string::npos)
      << status;
}

TEST(GatewayConfig, WhatDiffersIsNamedButForWhatIsHot) {
  GatewayConfig a;
  GatewayConfig b;
  EXPECT_TRUE(ColdDifferences(a, b).empty());
  b.key_policy.dek_ttl_soft = std::chrono::minutes(5);
  EXPECT_TRUE(ColdDifferences(a, b).empty());
  b.enclaves = {"vsock:16:7000"};
  EXPECT_TRUE(ColdDifferences(a, b).empty());
  a.http_listen = "127.0.0.1:4711";  // as it was chosen
  for (const char* same : {"127.0.0.1:0", "localhost:0", "127.0.0.1:4711"}) {
    b.http_listen = same;
    EXPECT_TRUE(ColdDifferences(a, b).empty()) << same;
  }
  b.http_listen = "127.0.0.1:4712";
  EXPECT_EQ(ColdDifferences(a, b), std::vector<std::string>{"http.listen"});
  b.http_listen = a.http_listen;
  b.http_threads = 3;
  b.store = "sqlite:///other";
  EXPECT_EQ(ColdDifferences(a, b), (std::vector<std::string>{"http.threads", "store"}));
}

// Marked in docs/config.md and wanting a restart are two sides of one mark.
TEST(GatewayConfig, NothingThatIsHotNeedsARestart) {
  GatewayConfig changed;
  changed.hot.calls.sign_timeout = std::chrono::milliseconds(999);
  changed.hot.http.idle = std::chrono::milliseconds(999);
  changed.hot.admission.in_flight_max = 7;
  changed.hot.drain_timeout = std::chrono::milliseconds(999);
  changed.log_level = "debug";
  EXPECT_TRUE(ColdDifferences({}, changed).empty());
  EXPECT_EQ(HotValues({}, changed.hot).at("sign_timeout"), "999ms");
  EXPECT_EQ(HotValues(changed, {}).at("log_level"), "debug");
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
