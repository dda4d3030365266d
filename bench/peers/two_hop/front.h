#pragma once

// The HTTP front: Boost.Beast, asynchronous, one thread a CPU.

#include <cstdint>
#include <functional>
#include <string>

#include "bench/peers/two_hop/link.h"

namespace peers {

// Serves POST /create and POST /sign until SIGTERM or SIGINT. `ready` is told the port, which is
// chosen where 0 is asked for. Throws boost::system::system_error when it cannot listen.
void ServeHttpBlocking(boost::asio::io_context& context, Link& link, const std::string& host,
                       std::uint16_t port, const std::function<void(std::uint16_t)>& ready);

}  // namespace peers
