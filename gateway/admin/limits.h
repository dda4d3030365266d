#pragma once

// The bounds of the admin listener, each with its motive.

#include <cstddef>

namespace bulla::limits {

inline constexpr std::size_t kAdminConnectionsMax = 64;  // a scraper, a probe, a few humans
// Beyond those, when all of them are at work: for the probes that decide whether this gateway is
// sent work, or killed.
inline constexpr std::size_t kAdminProbesMax = 16;
inline constexpr std::size_t kAdminKeysPerPageMax = 1000;
inline constexpr std::size_t kAdminBodyBytesMax = 4 * 1024;  // an address and a number, many times

}  // namespace bulla::limits
