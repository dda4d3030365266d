#include "cli/dev_plan.h"

#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <unistd.h>

#include <yaml-cpp/yaml.h>

namespace bulla {
namespace {

TEST(DevPlan, PathsAreAbsoluteWhateverWasGiven) {
  DevPaths paths = *PathsOf("some/../data");
  EXPECT_EQ(paths.data, std::filesystem::current_path() / "data");
  EXPECT_TRUE(paths.EnclaveSocket(1).is_absolute());
}

TEST(DevPlan, SocketPathsFitUpTo107Bytes) {
  // The longest name is "/run/kms-forwarder.sock", 23 bytes.
  auto root = std::string("/");
  EXPECT_TRUE(SocketPathsFit(*PathsOf(root + std::string(107 - 23 - 1, 'd'))));
  EXPECT_FALSE(SocketPathsFit(*PathsOf(root + std::string(107 - 23, 'd'))));
}

TEST(DevPlan, TheGatewayDialsEveryEnclaveWhereItListens) {
  DevOptions options;
  options.enclaves = 3;
  DevPaths paths = *PathsOf("/srv/b");
  YAML::Node gateway = YAML::Load(GatewayConfig(options, paths, "127.0.0.1:4444"));
  ASSERT_EQ(gateway["enclaves"].size(), 3u);
  for (int number = 1; number <= 3; ++number) {
    YAML::Node enclave = YAML::Load(EnclaveConfig(options, paths, number, "arn:aws:kms:x:1:key/2"));
    EXPECT_EQ(gateway["enclaves"][number - 1].as<std::string>(),
              enclave["listen"].as<std::string>());
    EXPECT_EQ(enclave["kms"]["dial"].as<std::string>(),
              gateway["kms_forwarder"]["listen"].as<std::string>());
  }
  EXPECT_EQ(gateway["kms_forwarder"]["target"].as<std::string>(), "127.0.0.1:4444");
  EXPECT_EQ(gateway["store"].as<std::string>(), "sqlite:///srv/b/bulla.db");
  EXPECT_EQ(gateway["platform"].as<std::string>(), "simulated");
  EXPECT_EQ(gateway["admin"]["socket"].as<std::string>(), "/srv/b/run/admin.sock");
}

TEST(DevPlan, EveryNameOfAFolderSurvivesTheYaml) {
  DevOptions options;
  for (const char* name :
       {"/srv/a: \"b\" #c", "/srv/it's", "/srv/back\\slash", "/srv/two\nlines", "/srv/tab\tand\x01",
        "/srv/-o", "/srv/{a}, [b]", "/srv/\xc3\xbc \xf0\x9f\x94\x91", "/srv/a weight=b"}) {
    DevPaths paths = *PathsOf(name);
    YAML::Node enclave = YAML::Load(EnclaveConfig(options, paths, 1, "arn"));
    EXPECT_EQ(enclave["simulated"]["root_dir"].as<std::string>(), paths.nsm.string());
  }
}

TEST(DevPlan, AFolderWithoutANameThatCanBeWrittenIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(PathsOf("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(PathsOf("/srv/\xff").status()));
}

TEST(DevPlanDeathTest, ADeletedCurrentFolderIsSaid) {
  EXPECT_EXIT(
      {
        char folder[] = "/tmp/bulla-test-XXXXXX";
        bool gone = ::mkdtemp(folder) != nullptr && ::chdir(folder) == 0 && ::rmdir(folder) == 0;
        absl::Status status = PathsOf("data").status();
        std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
        ::_exit(gone && absl::IsUnavailable(status) ? 0 : 1);
      },
      testing::ExitedWithCode(0), "ENOENT");
}

TEST(DevPlan, KmsAndEnclavesAgreeOnTheFilesBetweenThem) {
  DevOptions options;
  options.program_dir = "/opt/bulla";
  DevPaths paths = *PathsOf("/srv/b");
  ChildSpec kms = KmsSpec(options, paths, "127.0.0.1:0");
  auto value_of = [&](const std::string& option) -> std::string {
    for (std::size_t i = 0; i + 1 < kms.argv.size(); ++i) {
      if (kms.argv[i] == option) return kms.argv[i + 1];
    }
    return {};
  };
  YAML::Node enclave = YAML::Load(EnclaveConfig(options, paths, 1, "arn"));
  YAML::Node gateway = YAML::Load(GatewayConfig(options, paths, "127.0.0.1:1"));
  EXPECT_EQ(kms.argv[0], "/opt/bulla/bulla-kms");
  EXPECT_EQ(enclave["kms"]["ca_file"].as<std::string>(), value_of("--tls-dir") + "/ca.pem");
  EXPECT_EQ(enclave["simulated"]["root_dir"].as<std::string>() + "/root.pem",
            value_of("--attestation-root"));
  EXPECT_EQ(gateway["credentials_file"].as<std::string>(), value_of("--credentials-file"));
  EXPECT_EQ(enclave["kms"]["region"].as<std::string>(), value_of("--region"));
}

}  // namespace
}  // namespace bulla
