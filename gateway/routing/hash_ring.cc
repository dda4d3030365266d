#include "gateway/routing/hash_ring.h"

#include <algorithm>

#include "base/check.h"

namespace bulla {
namespace {

// FNV-1a, then the finaliser of SplitMix64, which spreads its weak high bits over the circle.
// Stability matters here, not strength: a caller who can choose key ids gains nothing but
// imbalance, and ids are made by the gateway.
std::uint64_t Position(ByteSpan bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (std::uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

}  // namespace

HashRing::HashRing(const std::vector<Member>& members) {
  BULLA_CHECK(members.size() <= kMembersMax, "a ring has at most 64 members");
  for (std::size_t member = 0; member < members.size(); ++member) {
    const std::uint32_t points = members[member].weight * kPointsAtFullWeight / kFullWeight;
    for (std::uint32_t i = 0; i < points; ++i) {
      std::string label = members[member].name + "#" + std::to_string(i);
      points_.push_back({Position(AsBytes(label)), member});
    }
  }
  std::sort(points_.begin(), points_.end(), [](const Point& a, const Point& b) {
    return a.position != b.position ? a.position < b.position : a.member < b.member;
  });
}

std::size_t HashRing::PointOf(const KeyId& key_id) const {
  std::uint64_t position = Position(key_id.bytes);
  auto it =
      std::lower_bound(points_.begin(), points_.end(), position,
                       [](const Point& point, std::uint64_t p) { return point.position < p; });
  return static_cast<std::size_t>(it - points_.begin());
}

}  // namespace bulla
