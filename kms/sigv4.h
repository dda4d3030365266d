#pragma once

// AWS Signature Version 4, as a pure function: the client signs with it and the local KMS checks
// with it. Source: AWS General Reference, "Create a signed AWS API request".

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/aws_credentials.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/status.h"

namespace bulla {

// What is signed. Header names in any case; values as they are sent.
struct SigV4Request {
  std::string method;
  std::string path = "/";  // already percent-encoded
  std::string query;       // canonical: encoded, and sorted by name
  std::vector<std::pair<std::string, std::string>> headers;  // all of these are signed
  ByteSpan body;
};

// The day, region and service that a signing key is derived for.
struct SigV4Scope {
  std::string date;  // YYYYMMDD
  std::string region;
  std::string service;

  std::string ToString() const;  // "20150830/us-east-1/service/aws4_request"
};

// `now` as "20150830T123600Z".
std::string AmzDate(WallTime now);
// Nothing but the one form that AmzDate writes.
absl::StatusOr<WallTime> ParseAmzDate(std::string_view text);

std::string SigV4CanonicalRequest(const SigV4Request& request);
std::string SigV4StringToSign(const SigV4Request& request, const SigV4Scope& scope,
                              std::string_view amz_date);
// Lower-case hexadecimal, 64 digits.
std::string SigV4Signature(const SigV4Request& request, const SigV4Scope& scope,
                           std::string_view amz_date, std::string_view secret_access_key);

// The value of the Authorization header for `request`, which must hold the x-amz-date header.
// INVALID_ARGUMENT, which shows no value, when a part of the request is not what its place in an
// HTTP message holds: with a line break in it, what is sent would not be what was signed.
absl::StatusOr<std::string> SigV4Authorization(const SigV4Request& request, const SigV4Scope& scope,
                                               std::string_view amz_date,
                                               const AwsCredentials& credentials);

// An Authorization header, taken apart.
struct ParsedSigV4Authorization {
  std::string access_key_id;
  SigV4Scope scope;
  std::vector<std::string> signed_headers;  // lower case, sorted, no duplicates
  std::string signature;                    // 64 lower-case hexadecimal digits
};
absl::StatusOr<ParsedSigV4Authorization> ParseSigV4Authorization(std::string_view header);

}  // namespace bulla
