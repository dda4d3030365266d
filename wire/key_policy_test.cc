#include "wire/key_policy.h"

#include <gtest/gtest.h>

#include "wire/enclave.pb.h"

namespace bulla {
namespace {

using std::chrono::microseconds;
using std::chrono::minutes;
using std::chrono::seconds;

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

TEST(KeyPolicy, NothingWantedLeavesTheImagesOwn) {
  KeyPolicy image;
  image.plain_key_ttl_hard = minutes(15);
  EXPECT_EQ(*TightenKeyPolicy(image, NothingWanted()), image);
}

TEST(KeyPolicy, AParentMayTightenToTheImagesOwnAndNotBeyond) {
  KeyPolicy image;
  image.plain_key_ttl_hard = image.plain_key_ttl_soft = minutes(10);
  KeyPolicy wanted = NothingWanted();
  wanted.plain_key_ttl_hard = minutes(10);
  EXPECT_TRUE(TightenKeyPolicy(image, wanted).ok());
  wanted.plain_key_ttl_hard += microseconds(1);
  absl::Status status = TightenKeyPolicy(image, wanted).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MessageOf(status),
            "plain_key.ttl_hard: got 600000001us, but this enclave allows at most 10m");
}

TEST(KeyPolicy, EverySettingThatProtectsSecretsOrMemoryIsHeldToTheImages) {
  KeyPolicy image;
  auto looser = [&](auto KeyPolicy::*member, auto value) {
    KeyPolicy wanted = NothingWanted();
    wanted.*member = value;
    return !TightenKeyPolicy(image, wanted).ok();
  };
  EXPECT_TRUE(looser(&KeyPolicy::plain_key_ttl_soft, image.plain_key_ttl_soft + seconds(1)));
  EXPECT_TRUE(looser(&KeyPolicy::plain_key_ttl_hard, image.plain_key_ttl_hard + seconds(1)));
  EXPECT_TRUE(looser(&KeyPolicy::plain_key_uses_max, image.plain_key_uses_max + 1));
  EXPECT_TRUE(looser(&KeyPolicy::dek_ttl_soft, image.dek_ttl_soft + seconds(1)));
  EXPECT_TRUE(looser(&KeyPolicy::dek_ttl_hard, image.dek_ttl_hard + seconds(1)));
  EXPECT_TRUE(looser(&KeyPolicy::memory_budget_mib, image.memory_budget_mib + 1));
  EXPECT_FALSE(looser(&KeyPolicy::sign_wait_budget, image.sign_wait_budget * 2));
}

TEST(KeyPolicy, WhatIsNotAskedForGivesWayToWhatIs) {
  KeyPolicy wanted = NothingWanted();
  wanted.plain_key_ttl_hard = seconds(4);
  wanted.dek_ttl_hard = seconds(12);
  absl::StatusOr<KeyPolicy> policy = TightenKeyPolicy({}, wanted);
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->plain_key_ttl_soft, seconds(4));
  EXPECT_EQ(policy->plain_key_refresh_window, seconds(1));
  EXPECT_EQ(policy->dek_ttl_soft, seconds(11));
}

TEST(KeyPolicy, AContradictionNamesBothSettings) {
  KeyPolicy wanted = NothingWanted();
  wanted.plain_key_ttl_hard = seconds(4);
  wanted.plain_key_ttl_soft = seconds(5);
  absl::Status status = TightenKeyPolicy({}, wanted).status();
  EXPECT_NE(MessageOf(status).find("plain_key.ttl_soft"), std::string::npos) << status;
  EXPECT_NE(MessageOf(status).find("plain_key.ttl_hard"), std::string::npos) << status;
}

TEST(KeyPolicy, WhatIsTooSmallIsRefusedByName) {
  KeyPolicy wanted = NothingWanted();
  wanted.plain_key_ttl_hard = microseconds(1);
  EXPECT_EQ(MessageOf(TightenKeyPolicy({}, wanted).status()),
            "plain_key.ttl_hard: got 1us, want at least 100ms");
}

TEST(KeyPolicy, TravelsAsItIs) {
  PolicySettings settings;
  KeyPolicy policy;
  policy.plain_key_uses_max = 77;
  EncodeKeyPolicy(policy, settings);
  EXPECT_EQ(*DecodeKeyPolicy(settings), policy);
  settings.Clear();
  EncodeKeyPolicy(NothingWanted(), settings);
  EXPECT_EQ(settings.size(), 0);
  EXPECT_EQ(*DecodeKeyPolicy(settings), NothingWanted());
}

TEST(KeyPolicy, ForeignSettingsAreRefused) {
  auto refused = [](std::vector<std::pair<std::string, std::uint64_t>> pairs) {
    PolicySettings settings;
    for (const auto& [name, value] : pairs) {
      settings.Add()->set_name(name);
      settings.rbegin()->set_value(value);
    }
    return !DecodeKeyPolicy(settings).ok();
  };
  EXPECT_TRUE(refused({{"plain_key.ttl", 1}}));
  EXPECT_TRUE(refused({{"dek.ttl_hard", 1}, {"dek.ttl_hard", 2}}));
  EXPECT_TRUE(refused({{"dek.ttl_hard", ~std::uint64_t{0}}}));
  EXPECT_FALSE(refused({{"dek.ttl_hard", 1}}));
}

}  // namespace
}  // namespace bulla
