#include "http2/grpc_fields.h"

#include <gtest/gtest.h>

namespace bulla::http2 {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(GrpcTimeout, IsReadInAllItsUnits) {
  EXPECT_EQ(ParseGrpcTimeout("0n"), nanoseconds(0));
  EXPECT_EQ(ParseGrpcTimeout("7u"), microseconds(7));
  EXPECT_EQ(ParseGrpcTimeout("199m"), milliseconds(199));
  EXPECT_EQ(ParseGrpcTimeout("99999999S"), seconds(99'999'999));
  EXPECT_EQ(ParseGrpcTimeout("2M"), seconds(120));
  EXPECT_EQ(ParseGrpcTimeout("3H"), hours(3));
  EXPECT_EQ(ParseGrpcTimeout("99999999H"), nanoseconds::max());
}

TEST(GrpcTimeout, ThatIsNoneIsRefused) {
  for (const char* text : {"", "1", "m", "123456789m", "-1m", "+1m", "1.5S", "1 m", "1h", "1mm"}) {
    EXPECT_EQ(ParseGrpcTimeout(text), std::nullopt) << text;
  }
}

TEST(GrpcTimeout, IsWrittenSoThatItIsNeverShorter) {
  EXPECT_EQ(FormatGrpcTimeout(nanoseconds(-5)), "0n");
  EXPECT_EQ(FormatGrpcTimeout(nanoseconds(99'999'999)), "99999999n");
  EXPECT_EQ(FormatGrpcTimeout(nanoseconds(100'000'001)), "100001u");
  EXPECT_EQ(FormatGrpcTimeout(seconds(2)), "2000000u");
  for (nanoseconds timeout(1); timeout < hours(1'000'000); timeout = timeout * 7 + nanoseconds(3)) {
    const std::string text = FormatGrpcTimeout(timeout);
    ASSERT_TRUE(ParseGrpcTimeout(text)) << text;
    EXPECT_GE(*ParseGrpcTimeout(text), timeout);
    EXPECT_LT(*ParseGrpcTimeout(text) - timeout, timeout / 1000 + nanoseconds(2));
  }
  EXPECT_GE(*ParseGrpcTimeout(FormatGrpcTimeout(nanoseconds::max())),
            nanoseconds::max() - hours(1));
}

TEST(GrpcContentType, IsKnownByItsPrefix) {
  for (const char* text : {"application/grpc", "application/grpc+proto", "application/grpc;x=y"}) {
    EXPECT_TRUE(IsGrpcContentType(text)) << text;
  }
  for (const char* text : {"", "application/grp", "application/grpc-web", "application/json"}) {
    EXPECT_FALSE(IsGrpcContentType(text)) << text;
  }
}

TEST(GrpcMessageText, IsPercentEncodedWhereItHasToBe) {
  EXPECT_EQ(PercentEncode("a b~!"), "a b~!");
  EXPECT_EQ(PercentEncode("100%\n\x7f\xc3\xbc"), "100%25%0A%7F%C3%BC");
  std::string all;
  for (int c = 0; c < 256; ++c) all.push_back(static_cast<char>(c));
  EXPECT_EQ(PercentDecode(PercentEncode(all)), all);
  EXPECT_EQ(PercentDecode("%zz%2%%41%"), "%zz%2%A%");
}

HeaderBlock BlockOf(const GrpcStatus& status) {
  const GrpcStatusFields fields(status);
  std::vector<Header> headers;
  fields.AppendTo(headers);
  HeaderBlock block;
  for (const Header& header : headers) block.Add(header.name, header.value);
  return block;
}

TEST(GrpcStatus, TravelsInTrailers) {
  for (const std::string details : {"", "a", "ab", "abc", "\xff\0x"}) {
    const std::optional<GrpcStatus> status =
        StatusOfTrailers(BlockOf({absl::StatusCode::kNotFound, "no \"k\u00fcy\"\n", details}));
    ASSERT_TRUE(status);
    EXPECT_EQ(status->code, absl::StatusCode::kNotFound);
    EXPECT_EQ(status->message, "no \"k\u00fcy\"\n");
    EXPECT_EQ(status->details, details);
  }
  EXPECT_EQ(BlockOf({}).size(), 1u);
}

TEST(GrpcStatus, ThatIsForeignIsUnknownAndThatIsNotThereIsNone) {
  HeaderBlock block;
  EXPECT_FALSE(StatusOfTrailers(block));
  block.Add("grpc-status", "17");
  EXPECT_EQ(StatusOfTrailers(block)->code, absl::StatusCode::kUnknown);
}

TEST(GrpcStatus, SaysNoMoreThanFits) {
  const HeaderBlock block = BlockOf(
      {absl::StatusCode::kInternal, std::string(1'000'000, 'm'), std::string(1'000'000, 'd')});
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < block.size(); ++i) bytes += block[i].value.size();
  EXPECT_LE(bytes, kGrpcMessageTextBytesMax + 2);
}

TEST(GrpcStatus, OfAnAnswerWithoutGrpcIsAsItsDocumentSays) {
  EXPECT_EQ(StatusOfHttp("503", "text/html").code, absl::StatusCode::kUnavailable);
  EXPECT_EQ(StatusOfHttp("404", "").code, absl::StatusCode::kUnimplemented);
  EXPECT_EQ(StatusOfHttp("200", "text/html").code, absl::StatusCode::kUnknown);
  EXPECT_EQ(StatusOfReset(ErrorCode::kRefusedStream).code, absl::StatusCode::kUnavailable);
  EXPECT_EQ(StatusOfReset(ErrorCode::kCancel).code, absl::StatusCode::kCancelled);
  EXPECT_EQ(StatusOfReset(ErrorCode::kNoError).code, absl::StatusCode::kInternal);
}

TEST(GrpcBinaryField, IsReadWithPaddingAndWithout) {
  EXPECT_EQ(DecodeBinaryField("YQ==", 10), "a");
  EXPECT_EQ(DecodeBinaryField("YQ", 10), "a");
  EXPECT_EQ(DecodeBinaryField("", 10), "");
  EXPECT_EQ(DecodeBinaryField("YWJj", 3), "abc");
  EXPECT_EQ(DecodeBinaryField("YWJj", 2), std::nullopt);
  EXPECT_EQ(DecodeBinaryField("Y!", 10), std::nullopt);
}

}  // namespace
}  // namespace bulla::http2
