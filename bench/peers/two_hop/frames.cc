#include "bench/peers/two_hop/frames.h"

#include <algorithm>

namespace peers {
namespace {

constexpr std::uint8_t kCreate = 1;
constexpr std::uint8_t kSign = 2;
constexpr std::uint8_t kDone = 1;

ReplyFrame AnswerCreate(KeyRing& keys) {
  NewKey key = keys.Create();
  ReplyFrame reply{kDone};
  std::ranges::copy(key.id.bytes, reply.begin() + 1);
  std::ranges::copy(key.public_key, reply.begin() + 17);
  std::ranges::copy(key.address, reply.begin() + 50);
  return reply;
}

ReplyFrame AnswerSign(const KeyRing& keys, const RequestFrame& request) {
  bulla::KeyId id;
  bulla::Digest32 digest;
  std::copy_n(request.begin() + 1, id.bytes.size(), id.bytes.begin());
  std::copy_n(request.begin() + 17, digest.size(), digest.begin());
  std::optional<bulla::RecoverableSignature> signature = keys.Sign(id, digest);
  ReplyFrame reply{};
  if (!signature) return reply;
  reply[0] = kDone;
  std::ranges::copy(signature->rs, reply.begin() + 1);
  reply[65] = signature->recovery_id;
  return reply;
}

}  // namespace

RequestFrame CreateRequestFrame() { return {kCreate}; }

RequestFrame SignRequestFrame(const bulla::KeyId& id, const bulla::Digest32& digest) {
  RequestFrame frame{kSign};
  std::ranges::copy(id.bytes, frame.begin() + 1);
  std::ranges::copy(digest, frame.begin() + 17);
  return frame;
}

ReplyFrame Answer(KeyRing& keys, const RequestFrame& request) {
  return request[0] == kCreate ? AnswerCreate(keys) : AnswerSign(keys, request);
}

std::optional<NewKey> ReadCreated(const ReplyFrame& reply) {
  if (reply[0] != kDone) return std::nullopt;
  NewKey key;
  std::copy_n(reply.begin() + 1, key.id.bytes.size(), key.id.bytes.begin());
  std::copy_n(reply.begin() + 17, key.public_key.size(), key.public_key.begin());
  std::copy_n(reply.begin() + 50, key.address.size(), key.address.begin());
  return key;
}

std::optional<bulla::RecoverableSignature> ReadSigned(const ReplyFrame& reply) {
  if (reply[0] != kDone) return std::nullopt;
  bulla::RecoverableSignature signature;
  std::copy_n(reply.begin() + 1, signature.rs.size(), signature.rs.begin());
  signature.recovery_id = reply[65];
  return signature;
}

}  // namespace peers
