#include "gateway/routing/hash_ring.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <string_view>

namespace bulla {
namespace {

std::vector<HashRing::Member> Members(int count) {
  std::vector<HashRing::Member> members;
  for (int i = 0; i < count; ++i) members.push_back({fmt::format("unix:/run/e{}.sock", i)});
  return members;
}

std::vector<KeyId> Keys(int count) {
  std::vector<KeyId> keys;
  for (int i = 0; i < count; ++i) keys.push_back(KeyId::New({}));
  return keys;
}

// Another version of the gateway, and one beside this one, must look for a key where this one does:
// else every key is cold in the enclave that is asked. The rows are of a program of its own that
// follows the words in hash_ring.cc: sixty-four keys, the index of each one's owner and of the
// member that comes next.
TEST(HashRing, PositionsAreWhatTheyHaveAlwaysBeen) {
  const HashRing ring(
      {{"unix:/run/e0.sock", 100}, {"vsock:5:5000", 100}, {"tcp:10.0.0.7:5000", 50}});
  const std::string_view owners =
      "1020001101211202102100002100221101100101020011110011101201201012";
  const std::string_view next = "0212212012102010210021121221000222012010201202021100012020112100";
  for (std::size_t i = 0; i < owners.size(); ++i) {
    KeyId key;
    key.bytes.fill(static_cast<std::uint8_t>(i));
    const auto owner = static_cast<std::size_t>(owners[i] - '0');
    EXPECT_EQ(ring.OwnerOf(key), owner) << "key " << i;
    EXPECT_EQ(ring.Find(key, [&](std::size_t member) { return member != owner; }),
              static_cast<std::size_t>(next[i] - '0'))
        << "key " << i;
  }
}

TEST(HashRing, RemovingOneMemberMovesOnlyItsKeys) {
  std::vector<HashRing::Member> five = Members(5);
  std::vector<HashRing::Member> four = five;
  four.pop_back();
  HashRing before(five);
  HashRing after(four);
  int moved = 0;
  for (const KeyId& key : Keys(20000)) {
    std::size_t owner = *before.OwnerOf(key);
    if (owner == 4) {
      ++moved;
    } else {
      EXPECT_EQ(*after.OwnerOf(key), owner);
    }
  }
  EXPECT_NEAR(moved, 20000.0 / 5, 1000);
}

TEST(HashRing, SharesFollowWeights) {
  HashRing ring({{"a", 100}, {"b", 100}, {"c", 200}});
  std::map<std::size_t, int> share;
  for (const KeyId& key : Keys(40000)) ++share[*ring.OwnerOf(key)];
  EXPECT_NEAR(share[0], 10000, 2500);
  EXPECT_NEAR(share[1], 10000, 2500);
  EXPECT_NEAR(share[2], 20000, 3500);
}

TEST(HashRing, RaisingAWeightMovesKeysOnlyToItsMember) {
  HashRing before({{"a", 100}, {"b", 100}, {"c", 10}});
  HashRing after({{"a", 100}, {"b", 100}, {"c", 20}});
  int moved = 0;
  for (const KeyId& key : Keys(20000)) {
    if (before.OwnerOf(key) == after.OwnerOf(key)) continue;
    EXPECT_EQ(after.OwnerOf(key), 2u);
    ++moved;
  }
  EXPECT_NEAR(moved, 20000.0 / 22, 500);
}

TEST(HashRing, AMemberWithoutWeightHasNoKeys) {
  HashRing ring({{"a", 0}, {"b", 100}});
  for (const KeyId& key : Keys(1000)) EXPECT_EQ(ring.OwnerOf(key), 1u);
}

TEST(HashRing, ARefusedKeyGoesToOneNeighbourEachTime) {
  HashRing ring(Members(4));
  for (const KeyId& key : Keys(100)) {
    std::size_t owner = *ring.OwnerOf(key);
    auto not_owner = [&](std::size_t member) { return member != owner; };
    EXPECT_EQ(ring.Find(key, not_owner), ring.Find(key, not_owner));
    EXPECT_NE(*ring.Find(key, not_owner), owner);
  }
}

TEST(HashRing, EveryMemberIsAskedOnceBeforeItGivesUp) {
  HashRing ring(Members(HashRing::kMembersMax));
  std::map<std::size_t, int> asked;
  EXPECT_EQ(ring.Find(KeyId::New({}), [&](std::size_t member) { return ++asked[member] > 1; }),
            std::nullopt);
  EXPECT_EQ(asked.size(), HashRing::kMembersMax);
}

TEST(HashRing, AnEmptyRingHasNoOwners) {
  EXPECT_EQ(HashRing({}).Find(KeyId::New({}), [](std::size_t) { return true; }), std::nullopt);
}

}  // namespace
}  // namespace bulla
