#pragma once

// The service's answers, from JSON to values. What answers at an address may be anything, so each
// parser takes any bytes and says what it missed. Pure.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/values.h"

namespace bulla {

// The public part of a key: what create and GET /keys/{keyId} return.
struct PublicKeyReply {
  std::string key_id;
  PublicKey33 public_key{};
  std::string address;
  std::string created_at;  // empty in the answer to create
  std::string status;      // likewise
};

struct SignatureReply {
  RecoverableSignature signature;
  std::optional<std::string> der;  // 0x and hex, when it was asked for
};

// An answer of the error table.
struct ErrorReply {
  std::string code;
  std::string message;
  std::string request_id;
  std::optional<std::int64_t> retry_after_ms;
};

// DATA_LOSS names the member that is missing or wrong.
absl::StatusOr<PublicKeyReply> ParsePublicKeyReply(std::string_view json);
absl::StatusOr<SignatureReply> ParseSignatureReply(std::string_view json);
absl::StatusOr<std::vector<PublicKeyReply>> ParseKeyListReply(std::string_view json);
absl::StatusOr<ErrorReply> ParseErrorReply(std::string_view json);

// Any JSON object as lines "name: value", members of members as "name.member: value", for reading.
absl::StatusOr<std::string> FlattenJson(std::string_view json);

}  // namespace bulla
