#pragma once

// What travels on a socket between front and signer: one request and one reply, of fixed sizes.

#include <optional>

#include "bench/peers/signing/key_ring.h"

namespace peers {

// What to do; key id; digest. A creation leaves the rest at zero.
using RequestFrame = bulla::ByteArray<1 + 16 + 32>;
// 1 when done; then the signature and its recovery id, or key id, public key and address.
using ReplyFrame = bulla::ByteArray<1 + 16 + 33 + 20>;

RequestFrame CreateRequestFrame();
RequestFrame SignRequestFrame(const bulla::KeyId& id, const bulla::Digest32& digest);

// Does what the request says.
ReplyFrame Answer(KeyRing& keys, const RequestFrame& request);

std::optional<NewKey> ReadCreated(const ReplyFrame& reply);
std::optional<bulla::RecoverableSignature> ReadSigned(const ReplyFrame& reply);

}  // namespace peers
