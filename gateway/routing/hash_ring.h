#pragma once

// Consistent hashing of keys to enclaves. Each member has points on a circle in proportion to its
// weight; a key belongs to the member of the first point at or after its own. So taking one of n
// members away moves that member's keys and no others. Immutable: a change is a new ring. Pure.
//
// Positions depend on names and weights alone, so that a restarted gateway routes as before.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"

namespace bulla {

class HashRing {
 public:
  // Weights are in percent of what one enclave takes by default.
  static constexpr std::uint32_t kFullWeight = 100;
  static constexpr std::uint32_t kWeightMax = 1000;

  struct Member {
    std::string name;
    std::uint32_t weight = kFullWeight;  // 0: no keys
  };
  // Each enclave takes a whole number of vCPUs of one host, at least two.
  static constexpr std::size_t kMembersMax = 64;
  // Points of a member of full weight: shares then differ by some 8 % (1 / sqrt(160)).
  static constexpr std::uint32_t kPointsAtFullWeight = 160;

  // Requires: at most kMembersMax members.
  explicit HashRing(const std::vector<Member>& members);

  // The member that a key belongs to; nothing when the ring is empty.
  std::optional<std::size_t> OwnerOf(const KeyId& key_id) const {
    return Find(key_id, [](std::size_t) { return true; });
  }

  // The index of the first member, in ring order from the key's owner on, that `accepts`; nothing
  // when none does. `accepts` is asked once for each member at most, the owner first.
  template <typename Accepts>
  std::optional<std::size_t> Find(const KeyId& key_id, Accepts accepts) const {
    std::uint64_t asked = 0;
    std::size_t start = PointOf(key_id);
    for (std::size_t i = 0; i < points_.size(); ++i) {
      std::size_t member = points_[(start + i) % points_.size()].member;
      std::uint64_t bit = std::uint64_t{1} << member;
      if ((asked & bit) != 0) continue;
      if (accepts(member)) return member;
      asked |= bit;
    }
    return std::nullopt;
  }

 private:
  struct Point {
    std::uint64_t position;
    std::size_t member;
  };

  std::size_t PointOf(const KeyId& key_id) const;

  std::vector<Point> points_;  // ascending
};

}  // namespace bulla
