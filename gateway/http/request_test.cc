#include "gateway/http/request.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>

#include "gateway/frontend/limits.h"

namespace bulla {
namespace {

using ::testing::HasSubstr;
using State = HttpRequestReader::State;

constexpr std::size_t kBodyMax = 1000;
constexpr char kPost[] = "POST /sign HTTP/1.1\r\nHost: a\r\n";

// The refusal of `bytes`, however they arrive; empty when there is none.
std::string RefusalOf(std::string_view bytes) {
  std::string refusals[2];
  std::size_t steps[2] = {bytes.size(), 1};
  for (int i = 0; i < 2; ++i) {
    HttpRequestReader reader(kBodyMax);
    std::size_t taken = 0;
    for (std::size_t end = 0; end < bytes.size() && reader.state() < State::kDone;) {
      end = std::min(bytes.size(), end + steps[i]);
      taken += reader.Consume(bytes.substr(taken, end - taken));
    }
    if (reader.state() != State::kDone) reader.ConsumeEnd();
    refusals[i] = reader.refusal().error.message;
  }
  EXPECT_EQ(refusals[0].empty(), refusals[1].empty()) << bytes.substr(0, 300);
  return refusals[0];
}

TEST(HttpRequestReader, TakesARequestAndLeavesTheNext) {
  HttpRequestReader reader(kBodyMax);
  std::string first =
      std::string(kPost) +
      "X-Request-Id: r1\r\nIdempotency-Key: k1\r\ncontent-type: application/json\r\n"
      "Content-Length: 3\r\n\r\nabc";
  EXPECT_EQ(reader.Consume(first + "GET"), first.size());
  ASSERT_EQ(reader.state(), State::kDone);
  EXPECT_EQ(reader.request().method, "POST");
  EXPECT_EQ(reader.request().target, "/sign");
  EXPECT_EQ(reader.request().body, "abc");
  EXPECT_EQ(reader.request().request_id, "r1");
  EXPECT_EQ(reader.request().idempotency_key, "k1");
  EXPECT_EQ(reader.request().content_type, "application/json");
  EXPECT_TRUE(reader.keep_alive());
  reader.Reset();
  EXPECT_EQ(reader.state(), State::kIdle);
  std::string second = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  EXPECT_EQ(reader.Consume(second), second.size());
  ASSERT_EQ(reader.state(), State::kDone);
  EXPECT_EQ(reader.request().body, "");
  EXPECT_EQ(reader.request().request_id, "") << "nothing of the first is left";
  EXPECT_FALSE(reader.keep_alive());
}

TEST(HttpRequestReader, ChunkedBodyEndsWhereItSays) {
  std::string head = std::string(kPost) + "Transfer-Encoding: Chunked\r\n\r\n";
  for (const std::string& body :
       {std::string("3\r\nabc\r\n0\r\n\r\n"),
        std::string("01;x=\"y\"\r\na\r\n2 \t;z\r\nbc\r\n000\r\nT: v\r\nu:\r\n\r\n")}) {
    HttpRequestReader reader(kBodyMax);
    EXPECT_EQ(reader.Consume(head + body + "rest"), head.size() + body.size());
    EXPECT_EQ(reader.state(), State::kDone);
    EXPECT_EQ(reader.request().body, "abc");
    EXPECT_EQ(RefusalOf(head + body), "");
  }
  EXPECT_EQ(RefusalOf(head + "0\r\n\r\n"), "") << "empty, and in as many pieces as one likes";
  for (const char* body :
       {"g\r\n", "\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", "1\n", "1 \r\na\r\n", "1\r\nab\r\n",
        "1\r\na\n", "0\r\n\n", "1;\x01\r\n", "0\r\nT: \x02\r\n\r\n", "0\r\n\rX", "1 a\r\n",
        "00000000000000001\r\n", "0\r\nGET / HTTP/1.1\r\n", "0\r\nT\r\n", "0\r\n T: v\r\n",
        "0\r\nT : v\r\n"}) {
    EXPECT_EQ(RefusalOf(head + body), "body: not a well-formed chunked body") << body;
  }
  for (const std::string& body :
       {std::string("3e9\r\n"), std::string("ffffffffffffffffffff\r\n"),
        "3e8\r\n" + std::string(1000, 'a') + "\r\n1\r\n", "1;" + std::string(20000, 'x') + "\r\n",
        "0\r\n" + std::string(20000, 'x')}) {
    EXPECT_THAT(RefusalOf(head + body), HasSubstr("body: over 1000 bytes")) << body.substr(0, 50);
  }
}

TEST(HttpRequestReader, WhateverTwoReadersCouldUnderstandDifferentlyIsRefused) {
  const std::string length = "Content-Length: want one number, once";
  const std::string both = "Transfer-Encoding: want it in HTTP/1.1, without Content-Length";
  const std::string coding = "Transfer-Encoding: got '";
  const std::string fold = "header: a line begins with a space";
  const std::string field = "want NAME: VALUE";
  const std::string control = "has a control character";
  const std::string lf = "a line ends in LF alone";
  struct {
    std::string fields;
    std::string refusal;
  } const kBad[] = {
      {"Content-Length: 1\r\nContent-Length: 1\r\n", length},
      {"Content-Length: 1\r\nContent-Length: 2\r\n", length},
      {"Content-Length: 1, 1\r\n", length},
      {"Content-Length: +1\r\n", length},
      {"Content-Length: -1\r\n", length},
      {"Content-Length: 0x1\r\n", length},
      {"Content-Length:\r\n", length},
      {"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", both},
      {"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", length},
      {"Transfer-Encoding: gzip\r\nContent-Length: 1\r\n", length},
      {"Transfer-Encoding: gzip\r\n", coding},
      {"Transfer-Encoding: chunked, gzip\r\n", coding},
      {"Transfer-Encoding: gzip, chunked\r\n", coding},
      {"Transfer-Encoding: xchunked\r\n", coding},
      {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", coding},
      {"Transfer-Encoding : chunked\r\n", field},
      {"Host: b\r\n", "Host: given twice"},
      {"Idempotency-Key: a\r\nIdempotency-Key: a\r\n", "Idempotency-Key: given twice"},
      {"Idempotency-Key:\r\n", "Idempotency-Key: got nothing"},
      {"Origin: http://a\r\nOrigin: http://b\r\n", "Origin: given twice"},
      {"no colon\r\n", field},
      {"A: b\n", lf},
      {std::string("A: b\0c\r\n", 8), control},
      {"Content-Length : 1\r\n", field},
      {"Content-Length: 1 1\r\n", length},
      {"Content-Length: 1\v\r\n", control},
      {"Content-Length: 1e0\r\n", length},
      {"Content-Length: 1;x\r\n", length},
      {"Transfer-Encoding: \vchunked\r\n", control},
      {"Transfer-Encoding: \"chunked\"\r\n", coding},
      {"Transfer-Encoding: chunked;q=1\r\n", coding},
      {"Transfer-Encoding: , chunked\r\n", coding},
      {"Transfer-Encoding: chunked,\r\n", coding},
      {"Transfer-Encoding: identity\r\n", coding},
      {"Transfer-Encoding:\r\n", coding},
      {"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", coding},
      {"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", coding},
      {"X: a\rTransfer-Encoding: chunked\r\n", control},
      {"X: a\nTransfer-Encoding: chunked\r\n", lf},
      {"X: a\r\n Content-Length: 1\r\n", fold},
      {"X: a\r\n\tb\r\n", fold},
      {"Content-Length:\r\n 1\r\n", length},
      {"Transfer-Encoding:\r\n chunked\r\n", fold},
      {" Content-Length: 1\r\n", fold},
      {": a\r\n", field},
  };
  for (const auto& bad : kBad) {
    EXPECT_THAT(RefusalOf(kPost + bad.fields + "\r\na"), HasSubstr(bad.refusal)) << bad.fields;
  }
  EXPECT_THAT(RefusalOf("POST / HTTP/1.1\r\n\r\n"), HasSubstr("Host: got none, want it once"));
  EXPECT_EQ(RefusalOf("POST / HTTP/1.0\r\n\r\n"), "");
  EXPECT_THAT(RefusalOf("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
              HasSubstr(both));
}

TEST(HttpRequestReader, WhatIsNoRequestLineIsRefused) {
  for (const char* line :
       {"POST /\r\n\r\n", "POST  / HTTP/1.1\r\n\r\n", "POST\t/ HTTP/1.1\r\n\r\n", "/\r\n\r\n",
        "POST / HTTP/1.1 \r\n\r\n", "POST / http/1.1\r\n\r\n", "POST / HTTP/1.12\r\n\r\n",
        "POST / a HTTP/1.1\r\n\r\n", "POST / HTTP/1,1\r\n\r\n", "POST / HTTP/1.x\r\n\r\n"}) {
    EXPECT_THAT(RefusalOf(line), HasSubstr("request line: got '")) << line;
  }
  for (const char* line : {"\x16\x03\x01\x02", " POST / HTTP/1.1\r\n", "\rPOST / HTTP/1.1\r\n"}) {
    EXPECT_NE(RefusalOf(line), "") << line;
  }
  EXPECT_THAT(RefusalOf("\r\n\r\nPOST / HTTP/1.1\r\n"), HasSubstr("two empty lines"));
  EXPECT_THAT(RefusalOf("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), HasSubstr("version: got 'HTTP/2.0'"));
  for (const char* target :
       {"*", "sign", "ftp://a/", "http://", "http:///", "http://a@b/", "http://a:b/", "//\\",
        "/a#b", "http:/a", "http://[::1/", "http://[x]/", "http://a%2/", "/\x80"}) {
    EXPECT_THAT(RefusalOf(fmt::format("POST {} HTTP/1.1\r\nHost: a\r\n\r\n", target)),
                HasSubstr("target: got"))
        << target;
  }
}

// What is read of a request whose first lines are these.
HttpRequest Read(const std::string& lines) {
  HttpRequestReader reader(kBodyMax);
  reader.Consume(lines + "\r\n");
  EXPECT_EQ(reader.state(), State::kDone) << lines << reader.refusal().error.message;
  return reader.request();
}

TEST(HttpRequestReader, AbsoluteFormIsTakenApartAndItsHostCounts) {
  struct {
    const char* line;
    const char* target;
    const char* authority;
  } const kForms[] = {
      {"GET http://b:1/x?y HTTP/1.1", "/x?y", "b:1"},
      {"GET http://b HTTP/1.1", "/", "b"},
      {"GET HTTPS://[::1]?y HTTP/1.1", "/?y", "[::1]"},
      {"GET /x HTTP/1.1", "/x", "a:2"},
      {"OPTIONS * HTTP/1.1", "*", "a:2"},
      {"OPTIONS http://b HTTP/1.1", "*", "b"},
      {"OPTIONS http://b/ HTTP/1.1", "/", "b"},
  };
  for (const auto& form : kForms) {
    HttpRequest request = Read(std::string(form.line) + "\r\nHost: a:2\r\n");
    EXPECT_EQ(request.target, form.target) << form.line;
    EXPECT_EQ(request.authority, form.authority) << form.line;
  }
  EXPECT_FALSE(Read("GET / HTTP/1.0\r\n").has_authority);
}

TEST(HttpRequestReader, OfSeveralRequestIdsTheFirstThatIsAcceptableNamesTheCall) {
  auto id = [](const std::string& fields) {
    return Read("GET / HTTP/1.1\r\nHost: a\r\n" + fields).request_id;
  };
  EXPECT_EQ(id("X-Request-Id: a\r\nx-request-id: b\r\n"), "a");
  EXPECT_EQ(id("X-Request-Id: a, b\r\n"), "a");
  EXPECT_EQ(id("X-Request-Id: <x>, b\r\nX-Request-Id: c\r\n"), "b");
  EXPECT_EQ(id("X-Request-Id:\r\nX-Request-Id: ,\r\nX-Request-Id: c\r\n"), "c");
  EXPECT_EQ(id("X-Request-Id: a b\r\n"), "");
}

TEST(HttpRequestReader, AConnectionLastsAsLongAsBothWant) {
  auto lasts = [](const std::string& version, const std::string& fields) {
    HttpRequestReader reader(kBodyMax);
    reader.Consume("GET / " + version + "\r\nHost: a\r\n" + fields + "\r\n");
    return reader.keep_alive();
  };
  EXPECT_TRUE(lasts("HTTP/1.1", ""));
  EXPECT_TRUE(lasts("HTTP/1.2", "")) << "a later minor version is one that we can talk to";
  EXPECT_FALSE(lasts("HTTP/1.1", "Connection: Close\r\n"));
  EXPECT_FALSE(lasts("HTTP/1.1", "Connection: keep-alive, , close\r\n"));
  EXPECT_FALSE(lasts("HTTP/1.1", "Connection: x\r\nConnection: close\r\n"));
  EXPECT_TRUE(lasts("HTTP/1.1", "Connection: closed\r\n"));
  EXPECT_FALSE(lasts("HTTP/1.0", ""));
  EXPECT_TRUE(lasts("HTTP/1.0", "Connection: Keep-Alive\r\n"));
  EXPECT_FALSE(lasts("HTTP/1.0", "Connection: keep-alive, close\r\n"));
}

TEST(HttpRequestReader, AnEmptyLineInFrontOfARequestLeavesTheConnectionIdle) {
  HttpRequestReader reader(kBodyMax);
  EXPECT_EQ(reader.Consume("\r"), 0u);
  EXPECT_EQ(reader.Consume("\r\n"), 2u);
  EXPECT_EQ(reader.state(), State::kIdle);
  reader.ConsumeEnd();
  EXPECT_EQ(reader.state(), State::kIdle);
  reader.Consume("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(reader.state(), State::kDone);
}

TEST(HttpRequestReader, SpaceAroundAValueIsNoPartOfIt) {
  for (const char* field : {"Content-Length:1\r\n", "Content-Length: \t 1 \t\r\n"}) {
    EXPECT_EQ(RefusalOf(std::string(kPost) + field + "\r\na"), "") << field;
  }
}

TEST(HttpRequestReader, ContinueIsExpectedInHttp11Only) {
  for (int minor : {0, 1}) {
    HttpRequestReader reader(kBodyMax);
    reader.Consume(fmt::format(
        "POST / HTTP/1.{}\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", minor));
    ASSERT_EQ(reader.state(), State::kBody);
    EXPECT_EQ(reader.request().expects_continue, minor == 1);
  }
}

TEST(HttpRequestReader, LimitsAreTakenAndOneMoreIsNot) {
  auto with_body = [](std::size_t n) {
    return fmt::format("{}Content-Length: {}\r\n\r\n{}", kPost, n, std::string(n, 'a'));
  };
  EXPECT_EQ(RefusalOf(with_body(kBodyMax)), "");
  EXPECT_EQ(RefusalOf(with_body(kBodyMax + 1)), "body: got 1001 bytes, want at most 1000");
  EXPECT_THAT(RefusalOf(std::string(kPost) + "Content-Length: 18446744073709551615\r\n\r\n"),
              HasSubstr("body: got 18446744073709551615 bytes"));
  auto with_field = [](std::size_t n) {
    return std::string(kPost) + "A: " + std::string(n, 'a') + "\r\n\r\n";
  };
  EXPECT_EQ(RefusalOf(with_field(limits::kHttpHeaderBytesMax - 100)), "");
  EXPECT_THAT(RefusalOf(with_field(limits::kHttpHeaderBytesMax)), HasSubstr("header: over"));
  std::string many = kPost;
  for (int i = 0; i < 3000; ++i) many += "A: b\r\n";
  EXPECT_THAT(RefusalOf(many + "\r\n"), HasSubstr("header: over")) << "small fields count too";
  auto with_target = [](std::size_t n) {  // of a request line of n bytes
    return fmt::format("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", std::string(n - 14, 'a'));
  };
  EXPECT_EQ(RefusalOf(with_target(limits::kHttpRequestLineBytesMax)), "");
  EXPECT_THAT(RefusalOf(with_target(limits::kHttpRequestLineBytesMax + 1)),
              HasSubstr("request line: over"));
  EXPECT_THAT(RefusalOf(std::string(100000, 'A')), HasSubstr("which is not known here"));
}

TEST(HttpRequestReader, RequestThatBreaksOffIsRefused) {
  std::string whole = std::string(kPost) + "Content-Length: 3\r\n\r\nabc";
  for (std::size_t n = 1; n < whole.size(); ++n) {
    EXPECT_EQ(RefusalOf(whole.substr(0, n)), "request: the connection ended before it did") << n;
  }
  HttpRequestReader idle(kBodyMax);
  idle.ConsumeEnd();
  EXPECT_EQ(idle.state(), State::kIdle);
}

}  // namespace
}  // namespace bulla
