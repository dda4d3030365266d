#pragma once

// How the HTTP front reaches the signer: the part in which the variants of this peer differ.

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>

#include "bench/peers/signing/key_ring.h"

namespace peers {

// Thread-safe. Callbacks come on any thread, nothing when the signer refused or could not be
// reached.
class Link {
 public:
  using OnCreated = std::function<void(std::optional<NewKey>)>;
  using OnSigned = std::function<void(std::optional<bulla::RecoverableSignature>)>;

  virtual ~Link() = default;
  virtual void Create(OnCreated done) = 0;
  virtual void Sign(const bulla::KeyId& id, const bulla::Digest32& digest, OnSigned done) = 0;
};

// A new connection for each call, closed after it.
std::unique_ptr<Link> MakePerRequestLink(boost::asio::io_context& context, std::string socket_path);
// One connection behind a lock: a call has it for itself from its request to its answer, and those
// that come meanwhile wait in line.
std::unique_ptr<Link> MakeSharedLink(boost::asio::io_context& context,
                                     const std::string& socket_path);
// One channel, a unary call for each signature; gRPC multiplexes them.
std::unique_ptr<Link> MakeGrpcLink(const std::string& socket_path);

}  // namespace peers
