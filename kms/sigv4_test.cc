#include "kms/sigv4.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

using std::chrono::seconds;

// AWS's published test suite for Signature Version 4 (aws-sig-v4-test-suite): all of it is of this
// caller, on 2015-08-30 at 12:36:00 UTC.
const AwsCredentials kCaller{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""};
constexpr char kDate[] = "20150830T123600Z";
const SigV4Scope kScope{"20150830", "us-east-1", "service"};

SigV4Request Request(std::string method) {
  SigV4Request request;
  request.method = std::move(method);
  request.headers = {{"Host", "example.amazonaws.com"}, {"X-Amz-Date", kDate}};
  return request;
}

TEST(SigV4, GetVanillaOfAwssTestSuite) {
  SigV4Request request = Request("GET");
  EXPECT_EQ(SigV4CanonicalRequest(request),
            "GET\n/\n\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n"
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(SigV4StringToSign(request, kScope, kDate),
            "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/service/aws4_request\n"
            "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63");
  EXPECT_EQ(*SigV4Authorization(request, kScope, kDate, kCaller),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            "SignedHeaders=host;x-amz-date, "
            "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

TEST(SigV4, PostVanillaOfAwssTestSuite) {
  EXPECT_EQ(SigV4Signature(Request("POST"), kScope, kDate, kCaller.secret_access_key),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

TEST(SigV4, HeadersAreLowerCasedSortedTrimmedAndJoined) {
  SigV4Request request = Request("GET");
  request.headers.emplace_back("My-Header2", "  \"a   b   c\"  ");
  request.headers.emplace_back("A-Header", "2");
  request.headers.emplace_back("a-header", " 1 ");
  EXPECT_EQ(SigV4CanonicalRequest(request),
            "GET\n/\n\na-header:2,1\nhost:example.amazonaws.com\nmy-header2:\"a b c\"\n"
            "x-amz-date:20150830T123600Z\n\na-header;host;my-header2;x-amz-date\n"
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(SigV4, ARequestThatWouldReadAsAnotherIsNotSigned) {
  const auto refused = [](const SigV4Request& request, const SigV4Scope& scope = kScope,
                          const AwsCredentials& caller = kCaller) {
    absl::Status status = SigV4Authorization(request, scope, kDate, caller).status();
    EXPECT_EQ(status.ToString().find("evil"), std::string::npos) << status;
    return status.code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_FALSE(refused(Request("GET")));
  for (int c = 0; c < 0x20; ++c) {
    const std::string evil = std::string("evil") + static_cast<char>(c) + "evil";
    SigV4Request request = Request(evil);
    EXPECT_TRUE(refused(request)) << c;
    request = Request("GET");
    request.path = "/" + evil;
    EXPECT_TRUE(refused(request)) << c;
    request = Request("GET");
    request.query = evil;
    EXPECT_TRUE(refused(request)) << c;
    request = Request("GET");
    request.headers.emplace_back(evil, "value");
    EXPECT_TRUE(refused(request)) << c;
    for (std::size_t header = 0; header < 2; ++header) {  // the host among them
      request = Request("GET");
      request.headers[header].second = evil;
      EXPECT_TRUE(refused(request)) << c;
    }
    EXPECT_TRUE(refused(Request("GET"), {"20150830", evil, "service"})) << c;
    EXPECT_TRUE(refused(Request("GET"), kScope, {evil, "secret", ""})) << c;
  }
  for (const char* name : {"", "a b", "a:b", "a\x7f", "\xc3\xa4"}) {
    SigV4Request request = Request("GET");
    request.headers.emplace_back(name, "value");
    EXPECT_TRUE(refused(request)) << name;
  }
}

TEST(SigV4, WhatIsWrittenIsReadBack) {
  absl::StatusOr<ParsedSigV4Authorization> parsed =
      ParseSigV4Authorization(*SigV4Authorization(Request("GET"), kScope, kDate, kCaller));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->access_key_id, "AKIDEXAMPLE");
  EXPECT_EQ(parsed->scope.ToString(), kScope.ToString());
  EXPECT_EQ(parsed->signed_headers, (std::vector<std::string>{"host", "x-amz-date"}));
  EXPECT_EQ(parsed->signature.substr(0, 8), "5fa00fa3");
}

TEST(SigV4, MalformedAuthorizationIsRefused) {
  const std::string credential = "Credential=A/20150830/r/s/aws4_request";
  const std::string headers = "SignedHeaders=a;b";
  const std::string signature = "Signature=" + std::string(64, 'a');
  auto ok = [](const std::string& parts) {
    return ParseSigV4Authorization("AWS4-HMAC-SHA256 " + parts).ok();
  };
  ASSERT_TRUE(ok(credential + "," + headers + ", " + signature));
  EXPECT_FALSE(ok(""));
  EXPECT_FALSE(ok(credential + "," + headers));
  EXPECT_FALSE(ok(credential + "," + credential + "," + headers + "," + signature));
  EXPECT_FALSE(ok("Credential=A/20150830/r/s/aws5," + headers + "," + signature));
  EXPECT_FALSE(ok("Credential=A/2015083x/r/s/aws4_request," + headers + "," + signature));
  EXPECT_FALSE(ok("Credential=/20150830/r/s/aws4_request," + headers + "," + signature));
  EXPECT_FALSE(ok(credential + ",SignedHeaders=b;a," + signature)) << "not in order";
  EXPECT_FALSE(ok(credential + ",SignedHeaders=a;a," + signature)) << "twice";
  EXPECT_FALSE(ok(credential + ",SignedHeaders=A;b," + signature)) << "upper case";
  EXPECT_FALSE(ok(credential + "," + headers + "," + signature + "a"));
  EXPECT_FALSE(ok(credential + "," + headers + ",Signature=" + std::string(64, 'A')));
  EXPECT_FALSE(ParseSigV4Authorization("AWS3 " + credential).ok());
  EXPECT_FALSE(ok(std::string(5000, 'a')));
}

TEST(SigV4, DatesSurviveTheRoundTripAndNonsenseIsRefused) {
  WallTime time(seconds(1440938160));
  EXPECT_EQ(AmzDate(time), kDate);
  EXPECT_EQ(ParseAmzDate(kDate).value(), time);
  for (const char* wrong :
       {"", "20150830T123600", "20150830 123600Z", "2015083xT123600Z", "20150231T123600Z",
        "20150830T246000Z", "00000000T000000Z", "99991231T235959Z"}) {
    EXPECT_FALSE(ParseAmzDate(wrong).ok()) << wrong;
  }
}

}  // namespace
}  // namespace bulla
