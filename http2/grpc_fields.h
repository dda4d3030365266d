#pragma once

// The header fields and trailers that gRPC says things with: statuses, time-outs, content types,
// binary metadata ("PROTOCOL-HTTP2.md" of gRPC). Pure.

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "http2/header_block.h"
#include "http2/session.h"

namespace bulla::http2 {

// How a call ended. gRPC's codes are absl's.
struct GrpcStatus {
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string message;
  std::string details;  // bytes, of grpc-status-details-bin

  bool ok() const { return code == absl::StatusCode::kOk; }
};

// Longer ones are cut: they have to fit the fields that a peer reads.
inline constexpr std::size_t kGrpcMessageTextBytesMax = 1024;
inline constexpr std::size_t kGrpcDetailsBytesMax = 4096;

// The fields that say `status`; what they refer to.
class GrpcStatusFields {
 public:
  explicit GrpcStatusFields(const GrpcStatus& status);
  void AppendTo(std::vector<Header>& fields) const;

 private:
  std::string code_;
  std::string message_;
  std::string details_;
};

// What trailers say; nothing when they have no grpc-status.
std::optional<GrpcStatus> StatusOfTrailers(const HeaderBlock& trailers);
// What an answer without gRPC in it means, and a stream that ends without a status.
GrpcStatus StatusOfHttp(std::string_view http_status, std::string_view content_type);
GrpcStatus StatusOfReset(ErrorCode code);

// A time-out: up to eight digits and one of H M S m u n. Format rounds up; the longest that can be
// said is some eleven thousand years. Parse: nothing when it is none; one that our clock does not
// hold is as good as for ever.
std::string FormatGrpcTimeout(std::chrono::nanoseconds timeout);
std::optional<std::chrono::nanoseconds> ParseGrpcTimeout(std::string_view text);

// "application/grpc", alone or with "+" or ";" behind it.
bool IsGrpcContentType(std::string_view content_type);

// grpc-message: "%" and what is not printable ASCII become %XX. Decoding leaves as it is what is no
// such thing.
std::string PercentEncode(std::string_view text);
std::string PercentDecode(std::string_view text);

// Metadata whose name ends in "-bin": base64, which others may leave without padding. Nothing when
// it is none or has more than `bytes_max`.
std::string EncodeBinaryField(std::string_view bytes);
std::optional<std::string> DecodeBinaryField(std::string_view text, std::size_t bytes_max);

}  // namespace bulla::http2
