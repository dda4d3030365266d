#pragma once

// The signer's process: keys in memory behind a Unix socket.

#include <functional>
#include <string>

#include "bench/peers/signing/key_ring.h"

namespace peers {

// Each blocks until the process is asked to end (SIGTERM, SIGINT), and calls `ready` once it
// listens. The first speaks frames on any number of connections, the second gRPC.
void ServeSocketBlocking(const std::string& socket_path, KeyRing& keys,
                         const std::function<void()>& ready);
void ServeGrpcBlocking(const std::string& socket_path, KeyRing& keys,
                       const std::function<void()>& ready);

}  // namespace peers
