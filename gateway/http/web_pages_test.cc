// Which question this answers: what can a web page have a browser do to the HTTP port? Each request
// has the fields that browsers send, which no page can change or leave out. With a real browser:
// tests/integration/web_pages_test.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <string>

#include "gateway/http/server.h"
#include "tests/fakes/front_end_test.h"
#include "tests/fakes/raw_http_client.h"

namespace bulla {
namespace {

using ::testing::HasSubstr;

// What today's browsers add when a page of that origin calls.
constexpr char kChrome[] =
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0.0.0\r\n"
    "Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"
    "Sec-Fetch-Dest: empty\r\n";
// To what is neither HTTPS nor loopback, Sec-Fetch-Site is not sent.
constexpr char kToPrivateAddress[] =
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0.0.0\r\n"
    "Origin: http://evil.example\r\n";
// From a sandboxed frame, or with the referrer policy no-referrer.
constexpr char kNullOrigin[] =
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:68.0) Firefox/115.0\r\nOrigin: null\r\n";
// Firefox of before 2020 sends neither with fetch() and forms.
constexpr char kOldFirefox[] =
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:60.0) Gecko/20100101 Firefox/60.0\r\n";

class WebPages : public FrontEndTest<HttpServer> {
 protected:
  RawHttpAnswer Send(std::string_view method, std::string_view path, std::string_view lines,
                     std::string_view body = {}, std::string_view host = "localhost") {
    RawHttpClient client(address_);
    client.Send(fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n{}Content-Length: {}\r\n\r\n{}", method,
                            path, host, lines, body.size(), body));
    return client.Read();
  }
  void ExpectNothingWasMade() { EXPECT_FALSE(service_.last_create().has_value()); }

  const std::string sign_ =
      fmt::format(R"({{"keyId":"{}","digest":"{}"}})", key_id_.ToString(), std::string(64, 'a'));
};

TEST_F(WebPages, NoPageOfAnotherSiteMakesAKeyOrSigns) {
  StartServer();
  for (const std::string browser : {kChrome, kToPrivateAddress, kNullOrigin}) {
    for (const char* path : {"/create", "/sign", "/sign/batch"}) {
      EXPECT_EQ(Send("POST", path, browser).status, 403) << path << "\n" << browser;
      EXPECT_EQ(Send("POST", path, browser + "Content-Type: application/json\r\n", sign_).status,
                403)
          << path << "\n"
          << browser;
      EXPECT_EQ(Send("POST", path, browser + "Content-Type: text/plain\r\n", sign_).status, 403)
          << path << "\n"
          << browser;
    }
  }
  ExpectNothingWasMade();
}

TEST_F(WebPages, NoPageOfAnotherPortDoesEither) {
  StartServer();
  const std::string lines =
      "Origin: http://localhost:3000\r\nSec-Fetch-Site: same-site\r\n"
      "Content-Type: application/json\r\n";
  EXPECT_EQ(Send("POST", "/create", lines, "{}", "localhost:8080").status, 403);
  ExpectNothingWasMade();
}

TEST_F(WebPages, OldBrowsersThatMarkNothingAreToldByTheirTypesAndName) {
  StartServer();
  const std::string old = kOldFirefox;
  EXPECT_EQ(Send("POST", "/create", old).status, 415) << "fetch() without a body";
  for (const char* type :
       {"application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "text/plain"}) {
    EXPECT_EQ(Send("POST", "/create", fmt::format("{}Content-Type: {}\r\n", old, type)).status, 415)
        << "an empty form";
    EXPECT_EQ(Send("POST", "/sign", fmt::format("{}Content-Type: {}\r\n", old, type), sign_).status,
              415)
        << "a form whose text is JSON";
  }
  ExpectNothingWasMade();
}

TEST_F(WebPages, NoPermissionIsGivenToAskForMore) {
  StartServer();
  RawHttpAnswer preflight = Send("OPTIONS", "/create",
                                 std::string(kChrome) +
                                     "Access-Control-Request-Method: POST\r\n"
                                     "Access-Control-Request-Headers: content-type\r\n"
                                     "Access-Control-Request-Private-Network: true\r\n");
  for (const auto& [name, value] : preflight.headers) {
    EXPECT_FALSE(name.starts_with("access-control-")) << name << ": " << value;
  }
}

TEST_F(WebPages, APageWhoseNameWasPointedHereReachesNothing) {
  StartServer();
  const std::string own =  // to the browser it is its own server
      "Origin: http://evil.example:8080\r\nSec-Fetch-Site: same-origin\r\n"
      "Content-Type: application/json\r\n";
  for (const char* path : {"/create", "/sign", "/sign/batch", "/nothing"}) {
    RawHttpAnswer answer = Send("POST", path, own, sign_, "evil.example:8080");
    EXPECT_EQ(answer.status, 421) << path;
    EXPECT_THAT(answer.body, HasSubstr("Host: got 'evil.example:8080'"));
    EXPECT_THAT(answer.body, HasSubstr("allowed_hosts"));
  }
  for (const char* method : {"GET", "HEAD", "OPTIONS"}) {
    RawHttpClient client(address_);
    client.Send(fmt::format("{} /keys/x HTTP/1.1\r\nHost: evil.example\r\n\r\n", method));
    EXPECT_EQ(client.Read(/*no_body=*/method[0] == 'H').status, 421) << method;
  }
  ExpectNothingWasMade();
}

TEST_F(WebPages, NamesOfTheSettingAndTheirOwnPagesAreServed) {
  HttpServer::Options options;
  options.hosts = *HostRules::Parse({"sign.example.com"});
  StartServer(options);
  const std::string own =
      "Origin: https://sign.example.com\r\nSec-Fetch-Site: same-origin\r\n"
      "Content-Type: application/json\r\n";
  EXPECT_EQ(Send("POST", "/create", own, "{}", "Sign.Example.com").status, 200);
  EXPECT_EQ(Send("POST", "/create", own, "{}", "localhost").status, 403)
      << "the page of one name is another's to the other";
  EXPECT_EQ(
      Send("POST", "/create", "Content-Type: application/json\r\n", "{}", "example.com").status,
      421);
}

TEST_F(WebPages, WhatIsNoBrowserMayLeaveOutTheTypeOfNothing) {
  StartServer();
  EXPECT_EQ(Send("POST", "/create", "User-Agent: python-requests/2.28\r\n").status, 200);
  RawHttpClient curl(address_);
  curl.Send("POST /create HTTP/1.1\r\nHost: " + address_ +
            "\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n");
  EXPECT_EQ(curl.Read().status, 200);
  EXPECT_EQ(Send("POST", "/create", "Content-Type: text/plain\r\n").status, 415)
      << "but not say a wrong one";
}

}  // namespace
}  // namespace bulla
