#pragma once

// The state of a service, for people. Pure.

#include <cstdint>
#include <string>

#include "cli/replies.h"

namespace bulla {

// A few lines for each enclave.
std::string FormatStatus(const StatusReply& status);

// A line for each enclave.
std::string FormatEnclaves(const StatusReply& status);

// What came over the network, and from an enclave before, does not move the terminal's cursor:
// everything but printable ASCII becomes '?'.
std::string Plain(std::string text);

// "512 B", "1.5 KiB", "2.0 GiB".
std::string FormatBytes(std::uint64_t bytes);

}  // namespace bulla
