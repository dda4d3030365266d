#pragma once

// The answers of the service, read with as little work as measuring allows: the status, the length
// and whether the connection ends. Only what Bulla's HTTP front end sends is understood; anything
// else (a chunked body, no length) is a wrong answer, not a reason to parse more.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/values.h"

namespace bulla {

// The longest body that is read as the answer to so many items; a signature has some 170 bytes, an
// error 200.
constexpr std::size_t AnswerBytesMax(std::size_t items) { return 8192 + 512 * items; }

struct HttpResponse {
  int status = 0;
  bool close = false;     // the connection ends behind it
  std::string_view body;  // in the bytes that were given
  std::size_t bytes = 0;  // of all of it
};

enum class ResponseState { kIncomplete, kComplete, kMalformed };

// Reads one answer at the beginning of `bytes` into `out`, which is complete with kComplete only. A
// longer body than `body_bytes_max` is malformed.
ResponseState ReadResponse(std::string_view bytes, std::size_t body_bytes_max, HttpResponse& out);

// The body of an answer to POST /sign. Nothing when it is no signature.
std::optional<RecoverableSignature> ReadSignature(std::string_view body);

// One item of the answer to POST /sign/batch.
struct BatchResult {
  std::optional<RecoverableSignature> signature;
  std::string_view text;  // the object, in the body that was read
};

// The items of the body of an answer to POST /sign/batch, in their order. False when it is none.
bool ReadBatch(std::string_view body, std::vector<BatchResult>& results);

// The text of member `name` of a flat JSON object without escapes; empty when it is not there.
std::string_view TextMember(std::string_view body, std::string_view name);

}  // namespace bulla
