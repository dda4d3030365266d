// Which question this answers: whatever bytes a stranger sends to the HTTP port, does he get an
// error of the table (or a closed door), and is the next caller served as if nothing had happened?
// Over real sockets, each line of the list one test. What the messages say is tested beside the
// parsers.

#include <cstdlib>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <string>

#include <boost/json/parse.hpp>

#include "gateway/frontend/call_rules.h"
#include "gateway/http/server.h"
#include "tests/fakes/front_end_test.h"
#include "tests/fakes/raw_http_client.h"

namespace bulla {
namespace {

using ::testing::HasSubstr;
namespace json = boost::json;

class BadInput : public FrontEndTest<HttpServer> {
 protected:
  void SetUp() override { StartServer(); }
  void TearDown() override {
    RawHttpClient client(address_);
    EXPECT_EQ(client.Post("/sign", GoodBody()).status, 200) << "a good request afterwards";
  }

  std::string SignBody(std::string_view digest_json) const {
    return fmt::format(R"({{"keyId":"{}","digest":{}}})", key_id_.ToString(), digest_json);
  }
  std::string GoodBody() const { return SignBody('"' + std::string(64, 'a') + '"'); }

  // Sends `bytes` on a connection of its own.
  RawHttpAnswer Send(std::string_view bytes) {
    RawHttpClient client(address_);
    client.Send(bytes);
    return client.Read();
  }
  RawHttpAnswer Sign(std::string_view digest_json) {
    return Send(RawHttpClient::PostText("/sign", SignBody(digest_json)));
  }

  static void ExpectError(const RawHttpAnswer& answer, int status, std::string_view code,
                          std::string_view message_part) {
    EXPECT_EQ(answer.status, status) << answer.body;
    json::error_code ec;
    json::value body = json::parse(answer.body, ec);
    ASSERT_FALSE(ec) << "not JSON: " << answer.body;
    const json::object& error = body.at("error").as_object();
    EXPECT_EQ(std::string(error.at("code").as_string()), code);
    EXPECT_THAT(std::string(error.at("message").as_string()), HasSubstr(std::string(message_part)));
    EXPECT_EQ(std::string(error.at("requestId").as_string()), answer.headers.at("x-request-id"));
  }
  static void ExpectInvalid(const RawHttpAnswer& answer, std::string_view message_part) {
    ExpectError(answer, 400, "INVALID_ARGUMENT", message_part);
  }
};

TEST_F(BadInput, DigestOfAnyOtherLength) {
  for (std::size_t bytes :
       {std::size_t{0}, std::size_t{31}, std::size_t{33}, std::size_t{1000000}}) {
    ExpectInvalid(
        Sign('"' + std::string(2 * bytes, 'a') + '"'),
        fmt::format("digest: got {} bytes ({} hex digits), want 32 bytes", bytes, 2 * bytes));
    ExpectInvalid(
        Sign("\"0x" + std::string(2 * bytes, 'a') + '"'),
        fmt::format("digest: got {} bytes ({} hex digits), want 32 bytes", bytes, 2 * bytes));
  }
}

TEST_F(BadInput, DigestThatIsNoHexString) {
  ExpectInvalid(Sign('"' + std::string(64, 'g') + '"'), "not all of them hex digits");
  ExpectInvalid(Sign("null"), "digest: got null");
  ExpectInvalid(Sign("7"), "digest: got a number");
  ExpectInvalid(Sign("[]"), "digest: got an array");
  ExpectInvalid(Send(RawHttpClient::PostText(
                    "/sign", fmt::format(R"({{"keyId":"{}"}})", key_id_.ToString()))),
                "digest: missing");
}

TEST_F(BadInput, UnknownAndMalformedKeyId) {
  std::string digest(64, 'a');
  ExpectError(Send(RawHttpClient::PostText(
                  "/sign",
                  fmt::format(R"({{"keyId":"01234567-89ab-7def-8123-456789abcdef","digest":"{}"}})",
                              digest))),
              404, "INVALID_KEY", "no such key");
  ExpectInvalid(Send(RawHttpClient::PostText(
                    "/sign", fmt::format(R"({{"keyId":"xyz","digest":"{}"}})", digest))),
                "keyId: got 'xyz'");
  ExpectInvalid(Send("GET /keys/ HTTP/1.1\r\nHost: localhost\r\n\r\n"), "keyId: got nothing");
  ExpectInvalid(Send("GET /keys/../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n"), "keyId: got");
  ExpectInvalid(Send("GET /keys/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n"), "keyId: got");
}

TEST_F(BadInput, UnknownFieldsAndTenants) {
  std::string good = GoodBody();
  good.pop_back();
  ExpectInvalid(Send(RawHttpClient::PostText("/sign", good + R"(,"chain":1})")),
                "'chain': unknown");
  ExpectInvalid(Send(RawHttpClient::PostText("/sign", good + R"(,"tenantId":"a"})")),
                "tenantId: reserved and disabled");
  for (std::string_view name : kTenantNames) {
    const std::string refused = fmt::format("{}: reserved and disabled", name);
    ExpectInvalid(
        Send(RawHttpClient::PostText("/sign", fmt::format(R"({},"{}":"a"}})", good, name))),
        refused);
    ExpectInvalid(
        Send(RawHttpClient::PostText("/sign", GoodBody(), fmt::format("{}: a\r\n", name))),
        refused);
  }
  ExpectInvalid(Send(RawHttpClient::PostText("/create", R"({"tenant_id":"a"})")),
                "tenant_id: reserved and disabled");
  for (const char* path : {"/sign", "/create", "/sign/batch"}) {
    ExpectInvalid(Send(RawHttpClient::PostText(path, GoodBody(), "Tenant-Id: a\r\n")),
                  "Tenant-Id: reserved and disabled");
  }
  ExpectInvalid(Send("GET /keys/" + key_id_.ToString() +
                     " HTTP/1.1\r\nHost: localhost\r\ntenant-id:\r\n\r\n"),
                "tenant-id: reserved and disabled");
}

TEST_F(BadInput, MalformedAndDeeplyNestedJson) {
  for (const char* body : {"{", "}", "{\"a\"", "{\"a\":}", "nonsense", "\"", "{}{}", "\xff\xfe"}) {
    ExpectInvalid(Send(RawHttpClient::PostText("/sign", body)), "body: ");
  }
  for (std::string_view open : {"[", "{\"a\":", "{\"items\":[", "[{\"digest\":"}) {
    std::string deep;
    while (deep.size() < 1000000) deep += open;
    ExpectInvalid(Send(RawHttpClient::PostText("/sign", deep)), "nested deeper than 8 levels");
    ExpectInvalid(Send(RawHttpClient::PostText("/sign/batch", deep)),
                  "nested deeper than 8 levels");
  }
}

TEST_F(BadInput, WrongMethodPathAndContentType) {
  RawHttpAnswer wrong_method = Send("GET /sign HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ExpectError(wrong_method, 405, "INVALID_ARGUMENT", "method: got 'GET', want POST");
  EXPECT_EQ(wrong_method.headers["allow"], "POST, OPTIONS");
  wrong_method =
      Send("DELETE /keys/" + key_id_.ToString() + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ExpectError(wrong_method, 405, "INVALID_ARGUMENT", "method: got 'DELETE', want GET");
  EXPECT_EQ(wrong_method.headers["allow"], "GET, HEAD, OPTIONS");
  RawHttpClient head(address_);
  head.Send("HEAD /sign HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(head.Read(/*no_body=*/true).status, 405);
  EXPECT_EQ(head.Post("/sign", GoodBody()).status, 200) << "the answer to HEAD had no body";
  EXPECT_EQ(Send("OPTIONS /sign HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 204);

  for (const char* path : {"/", "/nothing", "/sign/", "/Sign", "//sign", "/keys", "/sign%00"}) {
    ExpectError(Send(fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\n\r\n", path)), 404,
                "INVALID_ARGUMENT", "path: got");
  }
  ExpectInvalid(Send(RawHttpClient::PostText("/sign?a=b", GoodBody())), "query: got '?a=b'");

  for (const char* type : {"text/plain", "application/jsonx", "application/json; charset=latin1",
                           "application/x-www-form-urlencoded", "application/json, text/plain"}) {
    ExpectError(Send(fmt::format("POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\n"
                                 "Content-Length: 2\r\n\r\n{{}}",
                                 type)),
                415, "INVALID_ARGUMENT", "Content-Type: got '");
  }
  ExpectError(Send("POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"), 415,
              "INVALID_ARGUMENT", "Content-Type: got none");
  ExpectError(Send(RawHttpClient::PostText("/sign", GoodBody(), "Content-Encoding: gzip\r\n")), 415,
              "INVALID_ARGUMENT", "Content-Encoding");
  EXPECT_EQ(
      Send(fmt::format("POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: Application/JSON; "
                       "charset=\"UTF-8\"\r\nContent-Length: {}\r\n\r\n{}",
                       GoodBody().size(), GoodBody()))
          .status,
      200);
}

TEST_F(BadInput, BodyAndHeaderOverTheLimit) {
  std::string huge(limits::kRequestBodyBytesMax + 1, 'a');
  ExpectError(Send(RawHttpClient::PostText("/sign", huge)), 413, "PAYLOAD_TOO_LARGE",
              "body: got 4194305 bytes, want at most 4194304");
  std::string chunked =
      "POST /sign HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 5; ++i) chunked += "100000\r\n" + std::string(0x100000, 'a') + "\r\n";
  ExpectError(Send(chunked), 413, "PAYLOAD_TOO_LARGE", "body: over 4194304 bytes");
  ExpectError(Send("POST /sign HTTP/1.1\r\nA: " + std::string(100000, 'a') + "\r\n\r\n"), 431,
              "PAYLOAD_TOO_LARGE", "header: over 16384 bytes");
  ExpectError(Send("GET /" + std::string(100000, 'a')), 414, "PAYLOAD_TOO_LARGE",
              "request line: over 8192 bytes");
  // One that waits to be told to go on is told at once not to.
  ExpectError(Send("POST /sign HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                   "Content-Length: 99999999\r\n\r\n"),
              413, "PAYLOAD_TOO_LARGE", "body: got 99999999 bytes");
  // At the limit the body is read to its end.
  ExpectInvalid(Send(RawHttpClient::PostText("/sign", huge.substr(1))), "body: not valid JSON");
}

TEST_F(BadInput, ExpectedContinueComesBeforeTheBody) {
  RawHttpClient client(address_);
  std::string body = GoodBody();
  client.Send(
      fmt::format("POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  "Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
                  body.size()));
  EXPECT_EQ(client.Read().status, 100);
  client.Send(body);
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(BadInput, TruncatedRequest) {
  std::string whole = RawHttpClient::PostText("/sign", GoodBody());
  for (std::size_t n : {std::size_t{1}, std::size_t{10}, whole.size() / 2, whole.size() - 1}) {
    RawHttpClient client(address_);
    client.Send(whole.substr(0, n));
    client.HalfClose();
    ExpectInvalid(client.Read(), "request: the connection ended before it did");
    EXPECT_TRUE(client.ReadsEnd());
  }
  for (std::size_t n = 0; n < whole.size(); n += 7) {
    RawHttpClient gone(address_);
    gone.Send(whole.substr(0, n));
  }
}

TEST_F(BadInput, CallerWhoIsGoneBeforeTheAnswer) {
  service_.Hold();
  for (int i = 0; i < 20; ++i) {
    RawHttpClient client(address_);
    client.Send(
        RawHttpClient::PostText(i % 2 == 0 ? "/sign" : "/create", i % 2 == 0 ? GoodBody() : ""));
    ASSERT_TRUE(service_.WaitUntilHeld(static_cast<std::size_t>(i + 1)));
  }
  service_.Release();
}

TEST_F(BadInput, BadIdempotencyKey) {
  for (const std::string& bad :
       {std::string(256, 'a'), std::string("a b"), std::string("\xc3\xa9")}) {
    ExpectInvalid(Send(RawHttpClient::PostText("/create", "", "Idempotency-Key: " + bad + "\r\n")),
                  "Idempotency-Key: got");
  }
  EXPECT_EQ(Send(RawHttpClient::PostText("/create", "",
                                         "Idempotency-Key: " + std::string(255, 'a') + "\r\n"))
                .status,
            200);
}

TEST_F(BadInput, SmuggledRequest) {
  RawHttpAnswer answer = Send(
      "POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
      "4\r\n"
      "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /keys/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ExpectInvalid(answer, "");
  EXPECT_EQ(answer.headers["connection"], "close") << "nothing after it is read as a request";
}

// Ten thousand bodies and a thousand whole requests of random bytes, some of them JSON with a bite
// taken out. Every body gets a 4xx of the table.
TEST_F(BadInput, TenThousandRandomBodies) {
  const char* seed_text = std::getenv("BULLA_TEST_SEED");
  std::uint64_t seed = seed_text ? std::strtoull(seed_text, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE(fmt::format("BULLA_TEST_SEED={}", seed));
  std::mt19937_64 random(seed);
  auto random_bytes = [&](std::size_t max) {
    std::string bytes(random() % max, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    return bytes;
  };
  RawHttpClient client(address_);
  const char* paths[] = {"/sign", "/sign/batch", "/create"};
  for (int i = 0; i < 10000; ++i) {
    std::string body = random_bytes(300);
    if (i % 2 == 0) {
      body = i % 4 == 0 ? GoodBody() : R"({"items":[)" + GoodBody() + "]}";
      body[random() % body.size()] = static_cast<char>(random() % 32);  // a control character
    }
    if (body.empty()) body = "x";
    RawHttpAnswer answer = client.Post(paths[random() % 3], body);
    ASSERT_EQ(answer.status, 400) << i << ": " << body << "\n" << answer.body;
    ASSERT_THAT(answer.body, HasSubstr(R"({"error":{"code":"INVALID_ARGUMENT","message":")"));
  }
  for (int i = 0; i < 1000; ++i) {
    RawHttpClient stranger(address_);
    stranger.Send(random_bytes(1000));
    stranger.HalfClose();
    int status = stranger.Read().status;
    ASSERT_TRUE(status == 0 || (status >= 400 && status < 500)) << i;
  }
}

}  // namespace
}  // namespace bulla
