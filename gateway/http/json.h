#pragma once

// The JSON of the HTTP front end: request bodies into values, values into response bodies. Pure
// functions without I/O; gateway/http/connection moves the bytes.
//
// Bodies are read as a stream of events, without a document in memory: strings are counted and only
// their first characters kept, duplicated members are seen, and nesting is bounded. Anything the
// contract does not name is refused by name.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/values.h"
#include "gateway/call/signer_service.h"
#include "wire/errors.h"

namespace bulla {

struct SignRequest {
  KeyId key_id;
  Digest32 digest{};
  bool der = false;
  bool no_wait = false;
};

// One item of a batch: a request, or what is wrong with it.
struct BatchItem {
  Error error;
  SignRequest request;
};

// {"keyId": "...", "digest": "..."[, "der": true][, "noWait": true]}
Error ParseSign(std::string_view body, SignRequest& out);

// {"items": [sign request, ...]}, 1 to limits::kBatchItemsMax of them. A malformed item is an error
// of its own; a malformed body is the call's. `out` is replaced.
Error ParseSignBatch(std::string_view body, std::vector<BatchItem>& out);

// Nothing at all, or {}.
Error ParseCreate(std::string_view body);

// Each appends one JSON value to `out`.
void AppendSignature(const RecoverableSignature& signature, bool der, std::string& out);
void AppendCreated(const KeyRow& key, std::string& out);
void AppendKey(const KeyRow& key, std::string& out);
// `retry_after_ms` 0: the error carries no hint.
void AppendError(const Error& error, std::string_view request_id, std::uint32_t retry_after_ms,
                 std::string& out);
// A JSON string, quoted and escaped. Bytes that are not ASCII become '?'.
void AppendJsonString(std::string_view text, std::string& out);

}  // namespace bulla
