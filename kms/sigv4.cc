#include "kms/sigv4.h"

#include <algorithm>
#include <ctime>
#include <fmt/format.h>
#include <openssl/sha.h>

#include "crypto/hmac.h"

namespace bulla {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr std::string_view kTerminator = "aws4_request";
constexpr std::size_t kAuthorizationBytesMax = 4096;
constexpr std::size_t kSignedHeadersMax = 64;

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// Outer white space off, inner runs of it as one space.
std::string Trim(std::string_view value) {
  std::string out;
  bool space = false;
  for (char c : value) {
    if (c == ' ' || c == '\t') {
      space = !out.empty();
      continue;
    }
    if (space) out.push_back(' ');
    space = false;
    out.push_back(c);
  }
  return out;
}

std::string Sha256Hex(ByteSpan bytes) {
  ByteArray<32> digest;
  SHA256(bytes.data(), bytes.size(), digest.data());
  return HexEncode(digest);
}

// Names in lower case and values trimmed, in the order of the names; values of one name joined.
std::vector<std::pair<std::string, std::string>> CanonicalHeaders(const SigV4Request& request) {
  std::vector<std::pair<std::string, std::string>> headers;
  for (const auto& [name, value] : request.headers) headers.emplace_back(Lower(name), Trim(value));
  std::stable_sort(headers.begin(), headers.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::pair<std::string, std::string>> merged;
  for (auto& header : headers) {
    if (!merged.empty() && merged.back().first == header.first) {
      merged.back().second += "," + header.second;
    } else {
      merged.push_back(std::move(header));
    }
  }
  return merged;
}

std::string SignedHeaders(const SigV4Request& request) {
  std::string names;
  for (const auto& header : CanonicalHeaders(request)) {
    if (!names.empty()) names += ";";
    names += header.first;
  }
  return names;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

bool AllDigits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

absl::Status Malformed(const char* what) {
  return absl::InvalidArgumentError(fmt::format("Authorization header: {}", what));
}

absl::Status ParseCredential(std::string_view text, ParsedSigV4Authorization& out) {
  std::vector<std::string_view> parts = Split(text, '/');
  if (parts.size() != 5) return Malformed("Credential has not five parts");
  for (std::string_view part : parts) {
    if (part.empty() || part.size() > 128) return Malformed("Credential has a part of wrong size");
  }
  if (parts[1].size() != 8 || !AllDigits(parts[1])) return Malformed("Credential's date is wrong");
  if (parts[4] != kTerminator) return Malformed("Credential does not end in aws4_request");
  out.access_key_id = std::string(parts[0]);
  out.scope = {std::string(parts[1]), std::string(parts[2]), std::string(parts[3])};
  return absl::OkStatus();
}

absl::Status ParseSignedHeaders(std::string_view text, ParsedSigV4Authorization& out) {
  std::vector<std::string_view> names = Split(text, ';');
  if (names.size() > kSignedHeadersMax) return Malformed("too many SignedHeaders");
  for (std::string_view name : names) {
    if (name.empty() || Lower(name) != name) return Malformed("SignedHeaders are malformed");
    if (!out.signed_headers.empty() && out.signed_headers.back() >= name) {
      return Malformed("SignedHeaders are not in order");
    }
    out.signed_headers.emplace_back(name);
  }
  return absl::OkStatus();
}

absl::Status ParseSignature(std::string_view text, ParsedSigV4Authorization& out) {
  ByteArray<32> decoded;
  if (text.size() != 64 || !HexDecode(text, decoded) || Lower(text) != text) {
    return Malformed("Signature is not 64 hexadecimal digits");
  }
  out.signature = std::string(text);
  return absl::OkStatus();
}

// ---- What may be signed: RFC 9110, sections 5.1, 5.5 and 5.6.2

bool IsToken(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kMarks.find(c) != std::string_view::npos;
  });
}

bool IsVisible(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

bool IsFieldValue(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

absl::Status NotSigned(std::string_view what) {
  return absl::InvalidArgumentError(
      fmt::format("request to sign: {} has a character that has no place there", what));
}

absl::Status CheckRequest(const SigV4Request& request) {
  if (!IsToken(request.method)) return NotSigned("the method");
  if (!IsVisible(request.path) || !request.path.starts_with('/')) return NotSigned("the path");
  if (!IsVisible(request.query)) return NotSigned("the query");
  for (std::size_t i = 0; i < request.headers.size(); ++i) {
    const auto& [name, value] = request.headers[i];
    if (!IsToken(name)) return NotSigned(fmt::format("the name of header {}", i + 1));
    if (!IsFieldValue(value)) return NotSigned(fmt::format("the value of {}", name));
  }
  return absl::OkStatus();
}

absl::Status CheckScope(const SigV4Scope& scope) {
  if (!IsToken(scope.date)) return NotSigned("the date");
  if (!IsToken(scope.region)) return NotSigned("the region");
  return IsToken(scope.service) ? absl::OkStatus() : NotSigned("the service");
}

}  // namespace

std::string SigV4Scope::ToString() const {
  return fmt::format("{}/{}/{}/{}", date, region, service, kTerminator);
}

std::string AmzDate(WallTime now) {
  std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

absl::StatusOr<WallTime> ParseAmzDate(std::string_view text) {
  auto number = [&](std::size_t at, std::size_t digits) {
    int value = 0;
    for (char c : text.substr(at, digits)) value = 10 * value + (c - '0');
    return value;
  };
  if (text.size() != 16 || text[8] != 'T' || text[15] != 'Z' || !AllDigits(text.substr(0, 8)) ||
      !AllDigits(text.substr(9, 6))) {
    return absl::InvalidArgumentError("x-amz-date is not of the form 20150830T123600Z");
  }
  std::tm utc{};
  utc.tm_year = number(0, 4) - 1900;
  utc.tm_mon = number(4, 2) - 1;
  utc.tm_mday = number(6, 2);
  utc.tm_hour = number(9, 2);
  utc.tm_min = number(11, 2);
  utc.tm_sec = number(13, 2);
  // Past 2200 a system_clock overflows; and a date that normalises to another is none.
  if (utc.tm_year < 70 || utc.tm_year > 300) {
    return absl::InvalidArgumentError("x-amz-date is out of range");
  }
  WallTime time = std::chrono::system_clock::from_time_t(::timegm(&utc));
  if (AmzDate(time) != text) return absl::InvalidArgumentError("x-amz-date is no date");
  return time;
}

std::string SigV4CanonicalRequest(const SigV4Request& request) {
  std::string out = fmt::format("{}\n{}\n{}\n", request.method, request.path, request.query);
  for (const auto& [name, value] : CanonicalHeaders(request)) {
    out += fmt::format("{}:{}\n", name, value);
  }
  return out + fmt::format("\n{}\n{}", SignedHeaders(request), Sha256Hex(request.body));
}

std::string SigV4StringToSign(const SigV4Request& request, const SigV4Scope& scope,
                              std::string_view amz_date) {
  return fmt::format("{}\n{}\n{}\n{}", kAlgorithm, amz_date, scope.ToString(),
                     Sha256Hex(AsBytes(SigV4CanonicalRequest(request))));
}

std::string SigV4Signature(const SigV4Request& request, const SigV4Scope& scope,
                           std::string_view amz_date, std::string_view secret_access_key) {
  std::string first = fmt::format("AWS4{}", secret_access_key);
  ByteArray<32> key = HmacSha256(AsBytes(first), AsBytes(scope.date));
  key = HmacSha256(key, AsBytes(scope.region));
  key = HmacSha256(key, AsBytes(scope.service));
  key = HmacSha256(key, AsBytes(kTerminator));
  return HexEncode(HmacSha256(key, AsBytes(SigV4StringToSign(request, scope, amz_date))));
}

absl::StatusOr<std::string> SigV4Authorization(const SigV4Request& request, const SigV4Scope& scope,
                                               std::string_view amz_date,
                                               const AwsCredentials& credentials) {
  BULLA_RETURN_IF_ERROR(CheckRequest(request));
  BULLA_RETURN_IF_ERROR(CheckScope(scope));
  if (!IsToken(credentials.access_key_id)) return NotSigned("the access key id");
  return fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm,
                     credentials.access_key_id, scope.ToString(), SignedHeaders(request),
                     SigV4Signature(request, scope, amz_date, credentials.secret_access_key));
}

absl::StatusOr<ParsedSigV4Authorization> ParseSigV4Authorization(std::string_view header) {
  if (header.size() > kAuthorizationBytesMax) return Malformed("over 4096 bytes");
  if (!header.starts_with(kAlgorithm) || header.size() == kAlgorithm.size() ||
      header[kAlgorithm.size()] != ' ') {
    return Malformed("is not AWS4-HMAC-SHA256");
  }
  header.remove_prefix(kAlgorithm.size() + 1);
  ParsedSigV4Authorization out;
  bool credential = false;
  bool signed_headers = false;
  bool signature = false;
  for (std::string_view part : Split(header, ',')) {
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) return Malformed("a part has no value");
    std::string_view name = part.substr(0, equals);
    std::string_view value = part.substr(equals + 1);
    if (name == "Credential" && !credential) {
      credential = true;
      BULLA_RETURN_IF_ERROR(ParseCredential(value, out));
    } else if (name == "SignedHeaders" && !signed_headers) {
      signed_headers = true;
      BULLA_RETURN_IF_ERROR(ParseSignedHeaders(value, out));
    } else if (name == "Signature" && !signature) {
      signature = true;
      BULLA_RETURN_IF_ERROR(ParseSignature(value, out));
    } else {
      return Malformed("unknown or repeated part");
    }
  }
  if (!credential || !signed_headers || !signature) {
    return Malformed("Credential, SignedHeaders or Signature is missing");
  }
  return out;
}

}  // namespace bulla
