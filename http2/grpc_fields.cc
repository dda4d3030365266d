#include "http2/grpc_fields.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <fmt/format.h>
#include <limits>
#include <utility>

namespace bulla::http2 {
namespace {

using std::chrono::nanoseconds;

constexpr std::string_view kStatus = "grpc-status";
constexpr std::string_view kMessage = "grpc-message";
constexpr std::string_view kDetails = "grpc-status-details-bin";
constexpr std::int64_t kTimeoutValueMax = 99'999'999;  // eight digits

struct TimeoutUnit {
  char name;
  std::int64_t nanoseconds;
};
constexpr std::array<TimeoutUnit, 6> kTimeoutUnits = {{{'n', 1},
                                                       {'u', 1'000},
                                                       {'m', 1'000'000},
                                                       {'S', 1'000'000'000},
                                                       {'M', 60'000'000'000},
                                                       {'H', 3'600'000'000'000}}};

template <typename Number>
bool ParseNumber(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// A field's value, as a person is to see it.
std::string Shown(std::string_view text) { return PercentEncode(text.substr(0, 64)); }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

GrpcStatusFields::GrpcStatusFields(const GrpcStatus& status)
    : code_(std::to_string(static_cast<int>(status.code))),
      message_(PercentEncode(std::string_view(status.message).substr(0, kGrpcMessageTextBytesMax))),
      details_(status.details.size() <= kGrpcDetailsBytesMax ? EncodeBinaryField(status.details)
                                                             : "") {}

void GrpcStatusFields::AppendTo(std::vector<Header>& fields) const {
  fields.push_back({kStatus, code_});
  if (!message_.empty()) fields.push_back({kMessage, message_});
  if (!details_.empty()) fields.push_back({kDetails, details_});
}

std::optional<GrpcStatus> StatusOfTrailers(const HeaderBlock& trailers) {
  const std::optional<std::string_view> code = trailers.Find(kStatus);
  if (!code) return std::nullopt;
  GrpcStatus status;
  int number = 0;
  const bool known = ParseNumber(*code, number) && number >= 0 && number <= 16;
  status.code = known ? static_cast<absl::StatusCode>(number) : absl::StatusCode::kUnknown;
  status.message = PercentDecode(trailers.Find(kMessage).value_or(""));
  status.details =
      DecodeBinaryField(trailers.Find(kDetails).value_or(""), kGrpcDetailsBytesMax).value_or("");
  return status;
}

GrpcStatus StatusOfHttp(std::string_view http_status, std::string_view content_type) {
  using Code = absl::StatusCode;
  Code code = Code::kUnknown;
  if (http_status == "400") code = Code::kInternal;
  if (http_status == "401") code = Code::kUnauthenticated;
  if (http_status == "403") code = Code::kPermissionDenied;
  if (http_status == "404") code = Code::kUnimplemented;
  if (http_status == "429" || http_status == "502" || http_status == "503" ||
      http_status == "504") {
    code = Code::kUnavailable;
  }
  return {code,
          fmt::format("the peer answers with HTTP status {} and content type \"{}\", want 200 and "
                      "application/grpc",
                      Shown(http_status), Shown(content_type)),
          ""};
}

GrpcStatus StatusOfReset(ErrorCode code) {
  using Code = absl::StatusCode;
  const std::string message =
      fmt::format("the stream was reset (HTTP/2 error {})", static_cast<std::uint32_t>(code));
  switch (code) {
    case ErrorCode::kRefusedStream:
      return {Code::kUnavailable, message, ""};
    case ErrorCode::kCancel:
      return {Code::kCancelled, message, ""};
    case ErrorCode::kEnhanceYourCalm:
      return {Code::kResourceExhausted, message, ""};
    case ErrorCode::kInadequateSecurity:
      return {Code::kPermissionDenied, message, ""};
    default:
      return {Code::kInternal, message, ""};
  }
}

std::string FormatGrpcTimeout(nanoseconds timeout) {
  const std::int64_t count = std::max<std::int64_t>(0, timeout.count());
  for (const TimeoutUnit& unit : kTimeoutUnits) {
    const std::int64_t value = count / unit.nanoseconds + (count % unit.nanoseconds != 0 ? 1 : 0);
    if (value <= kTimeoutValueMax) return fmt::format("{}{}", value, unit.name);
  }
  return "99999999H";  // not reached: an int64 of nanoseconds is 2.6 million hours
}

std::optional<nanoseconds> ParseGrpcTimeout(std::string_view text) {
  std::uint32_t value = 0;
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  if (!ParseNumber(text.substr(0, text.size() - 1), value)) return std::nullopt;
  for (const TimeoutUnit& unit : kTimeoutUnits) {
    if (unit.name != text.back()) continue;
    if (value > std::numeric_limits<std::int64_t>::max() / unit.nanoseconds) {
      return nanoseconds::max();
    }
    return nanoseconds(value * unit.nanoseconds);
  }
  return std::nullopt;
}

bool IsGrpcContentType(std::string_view content_type) {
  constexpr std::string_view kGrpc = "application/grpc";
  if (!content_type.starts_with(kGrpc)) return false;
  const std::string_view rest = content_type.substr(kGrpc.size());
  return rest.empty() || rest[0] == '+' || rest[0] == ';';
}

std::string PercentEncode(std::string_view text) {
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    if (c >= 0x20 && c <= 0x7e && c != '%') {
      encoded.push_back(c);
    } else {
      fmt::format_to(std::back_inserter(encoded), "%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

std::string PercentDecode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = high >= 0 ? HexDigit(text[i + 2]) : -1;
    if (low < 0) {
      decoded.push_back(text[i]);
    } else {
      decoded.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    }
  }
  return decoded;
}

std::string EncodeBinaryField(std::string_view bytes) { return Base64Encode(AsBytes(bytes)); }

std::optional<std::string> DecodeBinaryField(std::string_view text, std::size_t bytes_max) {
  std::string padded(text);
  while (padded.size() % 4 != 0) padded.push_back('=');
  const std::optional<Bytes> bytes = Base64Decode(padded, bytes_max);
  if (!bytes) return std::nullopt;
  return std::string(AsText(*bytes));
}

}  // namespace bulla::http2
