#pragma once

// The service's answers, from JSON to values. What answers at an address may be anything, so each
// parser takes any bytes and says what it missed. Pure.

#include <cstdint>
#include <map>
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

// One enclave in the answer to GET /status or /enclaves. What is not in the answer is empty or
// zero.
struct EnclaveStatusReply {
  std::string address;
  bool connected = false;  // there is a connection
  bool available = false;
  bool ejected = false;  // it does not do its work, and is tried now and then
  std::uint64_t weight = 0;
  std::string platform;
  std::string boot_id;
  std::string last_error;
  std::string policy_refused;
  // What KMS refuses it for good, by cause: data keys to open, and one to seal under.
  std::map<std::string, std::uint64_t> unlocks_refused;
  std::string sealing_refused;
  std::uint64_t streams_open = 0;
  std::uint64_t in_flight = 0;
  std::uint64_t reconnects = 0;
  std::uint64_t stream_resets = 0;
  std::optional<double> sticky_hit_rate;  // 0 to 1
  // What it counts and holds, from its last probe, under the names that /status has for it,
  // whatever they are; nothing: there was no probe.
  std::optional<std::map<std::string, std::uint64_t>> report;
};

struct StatusReply {
  std::string version;  // of the gateway, and its commit: empty from an older one
  std::string commit;
  std::uint64_t unlocks_pending = 0;  // those running among them
  std::uint64_t unlocks_running = 0;
  std::uint64_t unlocks_done = 0;
  std::uint64_t unlocks_failed = 0;
  std::string store_unwritable;  // why no key can be made; empty when keys can be
  std::string config_refused;    // why the gateway's changed file was not taken
  std::vector<std::string> config_needs_restart;
  std::vector<EnclaveStatusReply> enclaves;
};

// What a change of the enclaves is answered with.
struct EnclaveChangeReply {
  std::string address;
  std::string lasts;  // how long it does, and how to make it last longer
};

// DATA_LOSS names the member that is missing or wrong.
absl::StatusOr<PublicKeyReply> ParsePublicKeyReply(std::string_view json);
absl::StatusOr<SignatureReply> ParseSignatureReply(std::string_view json);
absl::StatusOr<std::vector<PublicKeyReply>> ParseKeyListReply(std::string_view json);
absl::StatusOr<ErrorReply> ParseErrorReply(std::string_view json);
absl::StatusOr<StatusReply> ParseStatusReply(std::string_view json);  // of GET /enclaves too
absl::StatusOr<EnclaveChangeReply> ParseEnclaveChangeReply(std::string_view json);

}  // namespace bulla
