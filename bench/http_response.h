#pragma once

// The answers of the service, read with as little work as measuring allows: the status, the length
// and whether the connection ends. Only what Bulla's HTTP face sends is understood; anything else
// (a chunked body, no length) is a wrong answer, not a reason to parse more.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/values.h"

namespace bulla {

// The longest answer to a request that is read; a signature's has some 400 bytes.
inline constexpr std::size_t kAnswerBytesMax = 8192;

struct HttpResponse {
  int status = 0;
  bool close = false;     // the connection ends behind it
  std::string_view body;  // in the bytes that were given
  std::size_t bytes = 0;  // of all of it
};

enum class ResponseState { kIncomplete, kComplete, kMalformed };

// Reads one answer at the beginning of `bytes` into `out`, which is complete with kComplete only.
ResponseState ReadResponse(std::string_view bytes, HttpResponse& out);

// The body of an answer to POST /sign. Nothing when it is no signature.
std::optional<RecoverableSignature> ReadSignature(std::string_view body);

// The text of member `name` of a flat JSON object without escapes; empty when it is not there.
std::string_view TextMember(std::string_view body, std::string_view name);

}  // namespace bulla
