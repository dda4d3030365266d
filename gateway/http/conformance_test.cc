// Which question this answers: what of HTTP does this server do, and where is that written? Each
// row is a requirement of RFC 9110 (semantics), RFC 9112 (HTTP/1.1) or RFC 6585, a request and what
// is answered, sent over a socket to the real listener. Where a document leaves a choice, the row
// says which one was made; where one is not followed, the row says why.
//
// What every answer has is checked for every row: Date (9110, 6.6.1), Content-Length unless it is
// 1xx or 204 (9110, 8.6), `Connection: close` just when the connection ends (9112, 9.6), and that
// the next request on a connection that goes on is understood.

#include <algorithm>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/admin/server.h"
#include "gateway/frontend/limits.h"
#include "gateway/http/server.h"
#include "tests/fakes/front_end_test.h"
#include "tests/fakes/raw_http_client.h"

namespace bulla {
namespace {

using ::testing::MatchesRegex;

struct Row {
  std::string_view section;
  std::string_view requirement;
  // {get} stands for a path that is there to be got, {sign} for the body of a signature that can be
  // made, {length} for its length.
  std::string request;
  // The status of each answer in order; then '.' when the connection is closed, '+' when the server
  // waits for the rest of the request.
  std::string answers;
  std::string_view field = {};  // of the last answer: "name: value", the name in lower case
};

// A whole GET, and one with these lines besides Host.
std::string Get(std::string_view lines = {}) {
  return fmt::format("GET {{get}} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", lines);
}
// A request line alone, with a Host.
std::string Line(std::string_view line) {
  return fmt::format("{}\r\nHost: localhost\r\n\r\n", line);
}
std::string Host(std::string_view lines) {
  return fmt::format("GET {{get}} HTTP/1.1\r\n{}\r\n", lines);
}
// The head of a POST to /sign and what is behind it.
std::string Post(std::string_view lines, std::string_view body) {
  return fmt::format(
      "POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{}\r\n{}", lines,
      body);
}
std::string Sign(std::string_view lines) {
  return fmt::format(
      "POST /sign HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: {{length}}\r\n\r\n{{sign}}",
      lines);
}
std::string Typed(std::string_view type) { return Sign(fmt::format("Content-Type: {}\r\n", type)); }
std::string Chunked(std::string_view body) { return Post("Transfer-Encoding: chunked\r\n", body); }
// A GET whose request line has that many bytes.
std::string LongLine(std::size_t bytes) {
  constexpr std::size_t kRest = std::string_view("GET / HTTP/1.1").size();
  return Line(fmt::format("GET /{} HTTP/1.1", std::string(bytes - kRest, 'a')));
}

// What both listeners do.
std::vector<Row> RowsOfBoth() {
  const std::string get = Get();
  return {
      {"9110 2.5", "a later minor version is served as the latest known one",
       Line("GET {get} HTTP/1.9"), "200"},
      {"9110 2.5", "a major version that is not known is refused", Line("GET {get} HTTP/2.0"),
       "505."},
      {"9110 2.5", "the same for one that is past", Line("GET {get} HTTP/0.9"), "505."},
      {"9110 4.2.1", "a URI with an empty host is invalid", Line("GET http:///x HTTP/1.1"), "400."},
      {"9110 4.2.4", "user information in a URI is an error",
       Line("GET http://a@localhost/ HTTP/1.1"), "400."},
      {"9110 5.1", "names of fields are the same in any case", Host("hOsT: localhost\r\n"), "200"},
      {"9110 5.1", "fields that are not known are ignored", Get("X-Unknown: a\r\n"), "200"},
      {"9110 5.3", "a list may be spread over several fields",
       Get("Connection: x\r\nConnection: close\r\n"), "200."},
      {"9110 5.5", "space around a value is no part of it", Host("Host: \t localhost\t \r\n"),
       "200"},
      {"9110 5.5", "NUL in a value is refused", Get(std::string_view("X: a\0b\r\n", 8)), "400."},
      {"9110 5.5", "other control characters too", Get("X: a\x01\r\n"), "400."},
      {"9110 5.5", "bytes above ASCII are opaque", Get("X: caf\xe9\r\n"), "200"},
      {"9110 5.6.1.2", "empty members of a list are ignored", Get("Connection: , ,close,\r\n"),
       "200."},
      {"9110 7.4", "a request for a host that is not ours is refused as misdirected",
       Host("Host: evil.example\r\n"), "421"},
      {"9110 7.4", "the same with a port", Host("Host: evil.example:8080\r\n"), "421"},
      {"9110 7.4", "a Host that is empty is nobody's", Host("Host:\r\n"), "421"},
      {"9110 7.4", "addresses and loopback names are ours", Host("Host: [::1]:80\r\n"), "200"},
      {"9110 7.8", "an upgrade may be ignored", Get("Connection: Upgrade\r\nUpgrade: h2c\r\n"),
       "200"},
      {"9110 9.1", "a method that is not known is refused", Line("BREW {get} HTTP/1.1"), "501"},
      {"9110 9.1", "methods are told apart by case", Line("get {get} HTTP/1.1"), "501"},
      {"9110 9.1", "a known one that the resource lacks is refused with what it has",
       Line("DELETE {get} HTTP/1.1"), "405", "allow: GET, HEAD, OPTIONS"},
      {"9110 9.1", "a path that is not there is not found, whatever the method",
       Line("DELETE /nothing HTTP/1.1"), "404"},
      {"9110 9.3.1", "content of a GET may be refused (it has no meaning, and serves smuggling)",
       Get("Content-Length: 1\r\n") + "x", "400"},
      {"9110 9.3.2", "where there is GET there is HEAD, without content",
       Line("HEAD {get} HTTP/1.1"), "200"},
      {"9110 9.3.6", "CONNECT is for proxies", Line("CONNECT localhost:80 HTTP/1.1"), "501"},
      {"9110 9.3.7", "OPTIONS says what a resource has", Line("OPTIONS {get} HTTP/1.1"), "204",
       "allow: GET, HEAD, OPTIONS"},
      {"9110 9.3.7", "OPTIONS * is about the server", Line("OPTIONS * HTTP/1.1"), "204"},
      {"9110 9.3.8", "TRACE may be left out (it would echo credentials)",
       Line("TRACE {get} HTTP/1.1"), "501"},
      {"9110 10.1.1", "an expectation other than 100-continue may be refused",
       Get("Expect: 200-maybe\r\n"), "417"},
      {"9110 10.1.1", "without content there is nothing to go on with",
       Get("Expect: 100-continue\r\n"), "200"},
      {"9110 10.1.1", "a final status that the header decides comes instead of a 100",
       "POST /nothing HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
       "Content-Length: 1\r\n\r\n",
       "404."},
      {"9110 10.1.1", "the same with a host that is not ours",
       "POST /sign HTTP/1.1\r\nHost: evil.example\r\nExpect: 100-continue\r\n"
       "Content-Length: 1\r\n\r\n",
       "421."},
      {"9110 12.5.1", "what cannot be had by Accept is answered as ever, instead of 406",
       Get("Accept: image/png\r\n"), "200"},
      {"9110 13.1.1", "nothing is done if If-Match fails; nothing here has a tag to match",
       Get("If-Match: \"a\"\r\n"), "412"},
      {"9110 13.1.1", "`*` matches what is there", Get("If-Match: *\r\n"), "200"},
      {"9110 13.1.2", "a tag that does not match is no reason against",
       Get("If-None-Match: \"a\"\r\n"), "200"},
      {"9110 13.1.2", "`*` matches what is there", Get("If-None-Match: *\r\n"), "304"},
      {"9110 13.1.3", "without a date of modification the condition is ignored",
       Get("If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT\r\n"), "200"},
      {"9110 14.2", "Range may be ignored", Get("Range: bytes=0-1\r\n"), "200"},

      {"6585 5", "fields that are too large together",
       Get(fmt::format("A: {}\r\n", std::string(limits::kHttpHeaderBytesMax, 'a'))), "431."},

      {"9112 2.2", "an empty line in front of the request line is ignored", "\r\n" + get, "200"},
      {"9112 2.2", "at least one, and here no more", "\r\n\r\n" + get, "400."},
      {"9112 2.2", "also between two requests", get + "\r\n" + get, "200 200"},
      {"9112 2.2", "LF alone ends no line (a reader may take it, and another not)",
       "GET {get} HTTP/1.1\nHost: localhost\n\n", "400."},
      {"9112 2.2", "CR alone is invalid", Get("X: a\rY: b\r\n"), "400."},
      {"9112 2.2", "space between request line and fields is invalid", Host(" Host: localhost\r\n"),
       "400."},
      {"9112 2.2", "what is no HTTP is refused", "\x16\x03\x01", "400."},
      {"9112 3", "one space between the parts of the request line", Line("GET  {get} HTTP/1.1"),
       "400."},
      {"9112 3", "and none behind it", Line("GET {get} HTTP/1.1 "), "400."},
      {"9112 3", "no version is no request line", Line("GET {get}"), "400."},
      {"9112 3", "the name of the protocol is upper case", Line("GET {get} http/1.1"), "400."},
      {"9112 3", "request lines of 8000 bytes are read", LongLine(8000), "404"},
      {"9112 3", "a target that is too long", LongLine(limits::kHttpRequestLineBytesMax + 1),
       "414."},
      {"9112 3", "a method longer than any", Line(std::string(9000, 'A') + " / HTTP/1.1"), "501."},
      {"9112 3.2", "no space within the target", Line("GET {get} x HTTP/1.1"), "400."},
      {"9112 3.2", "a fragment is no part of a target", Line("GET {get}#a HTTP/1.1"), "400."},
      {"9112 3.2", "HTTP/1.1 wants a Host", Host(""), "400."},
      {"9112 3.2", "once", Host("Host: localhost\r\nHost: localhost\r\n"), "400."},
      {"9112 3.2", "well-formed", Host("Host: a b\r\n"), "400."},
      {"9112 3.2", "and without user information", Host("Host: a@localhost\r\n"), "400."},
      {"9112 3.2", "HTTP/1.0 does without", "GET {get} HTTP/1.0\r\n\r\n", "200."},
      {"9112 3.2.2", "a target in absolute form is taken",
       Line("GET http://localhost:1{get} HTTP/1.1"), "200"},
      {"9112 3.2.2", "with https too, since TLS may end in front",
       Line("GET HTTPS://127.0.0.1{get} HTTP/1.1"), "200"},
      {"9112 3.2.2", "its host counts and Host does not",
       "GET http://localhost{get} HTTP/1.1\r\nHost: evil.example\r\n\r\n", "200"},
      {"9112 3.2.2", "either way", Line("GET http://evil.example{get} HTTP/1.1"), "421"},
      {"9112 3.2.2", "Host is wanted all the same", "GET http://localhost{get} HTTP/1.1\r\n\r\n",
       "400."},
      {"9112 3.2.2", "an empty path is /", Line("GET http://localhost HTTP/1.1"), "404"},
      {"9112 3.2.2", "other schemes are not ours", Line("GET ftp://localhost{get} HTTP/1.1"),
       "400."},
      {"9112 3.2.3", "authority form is for CONNECT alone", Line("GET localhost:80 HTTP/1.1"),
       "400."},
      {"9112 3.2.4", "* is for OPTIONS alone", Line("GET * HTTP/1.1"), "400."},
      {"9112 3.2.4", "OPTIONS of a URI without a path is OPTIONS *",
       Line("OPTIONS http://localhost HTTP/1.1"), "204"},
      {"9112 5.1", "no space between a field's name and the colon", Host("Host : localhost\r\n"),
       "400."},
      {"9112 5.1", "a field has a colon", Get("X\r\n"), "400."},
      {"9112 5.1", "and a name", Get(": a\r\n"), "400."},
      {"9112 5.2", "a folded line is refused", Get("X: a\r\n b\r\n"), "400."},
      {"9112 6.1", "a coding under chunked that is not known",
       Post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), "501."},
      {"9112 6.1", "also when it is in a field of its own",
       Post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "501."},
      {"9112 6.1", "chunked is not applied twice",
       Post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), "400."},
      {"9112 6.1", "and not in HTTP/1.0",
       "POST /sign HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400."},
      {"9112 6.1", "a coding and a length",
       Post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "400."},
      {"9112 6.3", "in either order",
       Post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), "400."},
      {"9112 6.3", "chunked has to be the last coding",
       Post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"), "400."},
      {"9112 6.3", "identity is none any more", Post("Transfer-Encoding: identity\r\n", ""),
       "400."},
      {"9112 6.3",
       "an empty member in the list of codings (to be ignored by 9110, 5.6.1.2; refused, "
       "since readers differ)",
       Post("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n"), "400."},
      {"9112 6.3", "a length that is no number", Post("Content-Length: +1\r\n", "x"), "400."},
      {"9112 6.3", "lengths that differ", Post("Content-Length: 1\r\nContent-Length: 2\r\n", "x"),
       "400."},
      {"9112 6.3", "lengths that do not may be refused (some readers take the first alone)",
       Post("Content-Length: 1\r\nContent-Length: 1\r\n", "x"), "400."},
      {"9112 6.3", "the same as a list", Post("Content-Length: 1, 1\r\n", "x"), "400."},
      {"9112 6.3", "a length that no number holds",
       Post("Content-Length: 99999999999999999999999\r\n", ""), "413."},
      {"9112 7.1", "a chunk's size that no number holds is no small one",
       Chunked("10000000000000001\r\nx\r\n0\r\n\r\n"), "413."},
      {"9112 7.1", "nor one that is larger than what is taken", Chunked("fffffffffffffff\r\n"),
       "413."},
      {"9112 7.1", "a chunk ends where it says", Chunked("1\r\nxx\r\n0\r\n\r\n"), "400."},
      {"9112 7.1.2", "what looks like no trailer field is none", Chunked("0\r\n" + get), "400."},
      {"9112 9.3", "HTTP/1.1 goes on", get, "200"},
      {"9112 9.3", "unless it says otherwise", Get("Connection: close\r\n"), "200."},
      {"9112 9.3", "in any case", Get("Connection: Close\r\n"), "200."},
      {"9112 9.3", "close is stronger than keep-alive", Get("Connection: keep-alive, close\r\n"),
       "200."},
      {"9112 9.3", "HTTP/1.0 ends", "GET {get} HTTP/1.0\r\nHost: localhost\r\n\r\n", "200."},
      {"9112 9.3", "unless it says otherwise, and is told so",
       "GET {get} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n", "200",
       "connection: keep-alive"},
      {"9112 9.3.2", "pipelined requests are answered in order",
       Get("X-Request-Id: r1\r\n") + Line("GET /nothing HTTP/1.1") + Get("X-Request-Id: r3\r\n"),
       "200 404 200", "x-request-id: r3"},
      {"9112 9.6", "nothing behind a close is served", Get("Connection: close\r\n") + get, "200."},

      {"Bulla", "of several request ids the first names the call",
       Get("X-Request-Id: r1\r\nX-Request-Id: r2\r\n"), "200", "x-request-id: r1"},
      {"Bulla", "also when a proxy has joined them", Get("X-Request-Id: r1, r2\r\n"), "200",
       "x-request-id: r1"},
  };
}

// What needs a path that takes content.
std::vector<Row> RowsOfPosts() {
  return {
      {"9110 8.3.1", "a media type is the same in any case", Typed("Application/JSON"), "200"},
      {"9110 8.3.1", "and may have parameters", Typed("application/json; charset=utf-8"), "200"},
      {"9110 5.6.6", "in quotes, with escapes, in any case, space around the semicolon",
       Typed("application/json ;CHARSET=\"UT\\F-8\""), "200"},
      {"9110 5.6.6", "or none behind it", Typed("application/json;"), "200"},
      {"9110 8.3.1", "those that are not known are ignored", Typed("application/json;a=b"), "200"},
      {"9110 15.5.16", "a charset other than UTF-8", Typed("application/json;charset=latin1"),
       "415", "accept: application/json"},
      {"9110 15.5.16", "another type", Typed("text/plain"), "415", "accept: application/json"},
      {"9110 15.5.16", "content without a type may be guessed at, and is not", Sign(""), "415"},
      {"9110 8.4.1", "a coding that is not known",
       Sign("Content-Type: application/json\r\nContent-Encoding: gzip\r\n"), "415",
       "accept-encoding: identity"},
      {"9110 8.4.1", "one of several",
       Sign("Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Encoding: "
            "identity\r\n"),
       "415"},
      {"9110 8.4.1", "identity is no coding",
       Sign("Content-Type: application/json\r\nContent-Encoding: identity\r\n"), "200"},
      {"9110 9.1", "GET is not among what /sign has", Line("GET /sign HTTP/1.1"), "405",
       "allow: POST, OPTIONS"},
      {"9110 9.3.2", "hence HEAD neither", Line("HEAD /sign HTTP/1.1"), "405",
       "allow: POST, OPTIONS"},
      {"9110 9.3.7", "OPTIONS of /sign", Line("OPTIONS /sign HTTP/1.1"), "204",
       "allow: POST, OPTIONS"},
      {"9110 10.1.1", "who expects a 100 gets it",
       Post("Expect: 100-continue\r\n"
            "Content-Length: 9\r\n",
            ""),
       "100+"},
      {"9110 10.1.1", "in any case", Post("Expect: 100-Continue\r\nContent-Length: 9\r\n", ""),
       "100+"},
      {"9110 10.1.1", "it may be left out when the content is there",
       Sign("Content-Type: application/json\r\nExpect: 100-continue\r\n"), "200"},
      {"9110 10.1.1", "HTTP/1.0 expects nothing",
       "POST /sign HTTP/1.0\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
       "Content-Length: {length}\r\n\r\n{sign}",
       "200."},
      {"9110 10.1.1", "a final status that the header decides comes at once: 405",
       "PUT /sign HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
       "405."},
      {"9110 10.1.1", "413", Post("Expect: 100-continue\r\nContent-Length: 99999999\r\n", ""),
       "413."},
      {"9110 10.1.1", "415",
       "POST /sign HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
       "1\r\n\r\n",
       "415."},
      {"9110 13.1.1", "what is behind a POST has no tag to match",
       Sign("Content-Type: application/json\r\nIf-Match: *\r\n"), "412"},
      {"9110 13.1.2", "and no representation that `*` could mean",
       Sign("Content-Type: application/json\r\nIf-None-Match: *\r\n"), "200"},
      {"9110 15.5.14", "content that is too large",
       Post(fmt::format("Content-Length: {}\r\n", limits::kRequestBodyBytesMax + 1), ""), "413."},
      {"9112 6.1", "the name of the coding is the same in any case",
       Post("Transfer-Encoding: CHUNKED\r\n", "2\r\n{}\r\n0\r\n\r\n"), "400"},
      {"9112 6.3", "no length and no coding: no content", Line("POST /create HTTP/1.1"), "200"},
      {"9112 7.1", "the size of a chunk is in hex of either case, perhaps with zeros in front",
       Chunked("00A\r\n[         \r\na\r\n          \r\n0\r\n\r\n"), "400"},
      {"9112 7.1.1", "extensions of chunks that are not known are ignored",
       Post("Transfer-Encoding: chunked\r\n", "2;a=\"b\";c\r\n{}\r\n0;d\r\n\r\n"), "400"},
      {"9112 7.1.1", "bad white space in front of them too",
       Post("Transfer-Encoding: chunked\r\n", "2 ;a\r\n{}\r\n0\r\n\r\n"), "400"},
      {"9112 7.1.2", "trailers are dropped, never merged",
       Post("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\nContent-Length: 99\r\n\r\n"), "400"},
  };
}

class HttpConformance : public FrontEndTest<HttpServer> {
 protected:
  void SetUp() override {
    StartServer();
    get_ = "/keys/" + key_id_.ToString();
    sign_ =
        fmt::format(R"({{"keyId":"{}","digest":"{}"}})", key_id_.ToString(), std::string(64, 'a'));
  }

  std::string FilledIn(std::string text) const {
    for (const auto& [name, value] : {std::pair<std::string_view, std::string>{"{get}", get_},
                                      {"{sign}", sign_},
                                      {"{length}", std::to_string(sign_.size())}}) {
      for (std::size_t at = 0; (at = text.find(name, at)) != text.npos; at += value.size()) {
        text.replace(at, name.size(), value);
      }
    }
    return text;
  }

  // What every answer has.
  static void CheckAnswer(const RawHttpAnswer& answer) {
    if (answer.status < 200) return;
    EXPECT_THAT(answer.headers.at("date"),
                MatchesRegex("(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9][0-9] [A-Z][a-z][a-z] "
                             "[0-9][0-9][0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9] GMT"));
    EXPECT_TRUE(answer.headers.contains("x-request-id"));
    EXPECT_EQ(answer.headers.at("content-length").empty(), answer.status == 204);
  }

  // Runs one row against the listener at `address`.
  void Check(const std::string& address, const Row& row) const {
    SCOPED_TRACE(fmt::format("RFC {}: {}", row.section, row.requirement));
    RawHttpClient client(address);
    client.Send(FilledIn(row.request));
    const bool no_content = row.request.starts_with("HEAD") || row.answers == "304";
    std::string answers;
    RawHttpAnswer last;
    const auto wanted = std::count(row.answers.begin(), row.answers.end(), ' ') + 1;
    for (auto i = wanted; i > 0; --i) {
      last = client.Read(no_content);
      ASSERT_NE(last.status, 0) << "no answer after: " << answers;
      if (!answers.empty()) answers += ' ';
      answers += std::to_string(last.status);
      CheckAnswer(last);
    }
    const bool closes =
        last.headers.contains("connection") && last.headers["connection"] == "close";
    if (row.answers.ends_with('+')) {
      answers += '+';
    } else if (closes) {
      EXPECT_TRUE(client.ReadsEnd());
      answers += '.';
    } else {
      client.Send("GET /next HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: next\r\n\r\n");
      EXPECT_EQ(client.Read().headers["x-request-id"], "next");
    }
    EXPECT_EQ(answers, row.answers) << last.body;
    if (row.field.empty()) return;
    const std::size_t colon = row.field.find(": ");
    EXPECT_EQ(last.headers[std::string(row.field.substr(0, colon))], row.field.substr(colon + 2));
  }

  std::string get_;
  std::string sign_;
};

TEST_F(HttpConformance, PublicListenerDoesWhatTheDocumentsAskFor) {
  for (const Row& row : RowsOfBoth()) Check(address_, row);
  for (const Row& row : RowsOfPosts()) Check(address_, row);
}

TEST_F(HttpConformance, AdminListenerDoesToo) {
  AdminServer::Sources sources;
  AdminServer admin(AdminServer::Options{.listen = "127.0.0.1:0", .socket = {}}, std::move(sources),
                    metrics_);
  absl::StatusOr<std::string> address = admin.Start();
  ASSERT_TRUE(address.ok()) << address.status();
  get_ = "/healthz";
  for (const Row& row : RowsOfBoth()) Check(*address, row);
}

TEST_F(HttpConformance, AnswerToHeadSaysWhatThatToGetWouldHave) {
  RawHttpClient client(address_);
  RawHttpAnswer got = client.Get(get_);
  client.Send("HEAD " + get_ + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  RawHttpAnswer head = client.Read(/*no_body=*/true);
  EXPECT_EQ(head.headers["content-length"], got.headers["content-length"]);
  EXPECT_EQ(head.headers["content-type"], got.headers["content-type"]);
  EXPECT_EQ(client.Get(get_).body, got.body) << "nothing came behind the header";
}

}  // namespace
}  // namespace bulla
