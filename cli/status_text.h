#pragma once

// The state of a service, for people. Pure.

#include <cstdint>
#include <string>

#include "cli/replies.h"

namespace bulla {

// A few lines for each enclave.
std::string FormatStatus(const StatusReply& status);

// "512 B", "1.5 KiB", "2.0 GiB".
std::string FormatBytes(std::uint64_t bytes);

}  // namespace bulla
