#include "gateway/http/json.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>

#include <boost/json/parse.hpp>

#include "base/limits.h"
#include "gateway/frontend/call_rules.h"

namespace bulla {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kKey[] = "01234567-89ab-7def-8123-456789abcdef";
const std::string kDigest(64, 'a');

std::string Body(std::string_view key_id, std::string_view digest, std::string_view extra = {}) {
  return fmt::format(R"({{"keyId":{},"digest":{}{}}})", key_id, digest, extra);
}
std::string Text(std::string_view text) { return fmt::format("\"{}\"", text); }
std::string WithDigest(std::string_view json) { return Body(Text(kKey), json); }
std::string WithKeyId(std::string_view json) { return Body(json, Text(kDigest)); }
std::string With(std::string_view extra) { return Body(Text(kKey), Text(kDigest), extra); }

TEST(SignJson, BothFormsOfADigestAndAnyOrderAreTaken) {
  for (const std::string& body :
       {WithDigest(Text(kDigest)), WithDigest(Text("0x" + kDigest)),
        WithDigest(Text("0X" + std::string(64, 'A'))), With(R"(,"der":false)"),
        fmt::format(" {{ \"digest\" : \"{}\" ,\n \"keyId\":\"{}\" }} \r\n", kDigest, kKey),
        fmt::format(R"({{"di\u0067est":"{}","keyId":"{}"}})", kDigest, kKey)}) {
    SignRequest request;
    Error error = ParseSign(body, request);
    EXPECT_TRUE(error.ok()) << body << ": " << error.message;
    EXPECT_EQ(request.key_id, KeyId::Parse(kKey));
    EXPECT_EQ(request.digest[31], 0xaa);
    EXPECT_FALSE(request.der);
  }
  SignRequest request;
  EXPECT_TRUE(ParseSign(With(R"(,"der":true)"), request).ok());
  EXPECT_TRUE(request.der);
  EXPECT_FALSE(request.no_wait);
  EXPECT_TRUE(ParseSign(With(R"(,"noWait":true)"), request).ok());
  EXPECT_TRUE(request.no_wait);
}

struct BadBody {
  std::string body;
  std::string message;
};

TEST(SignJson, EveryBadBodyIsRefusedInWordsThatSayWhatArrived) {
  const std::string digest_wanted = ", want 32 bytes as 64 hex digits, with or without 0x";
  const BadBody kBad[] = {
      {WithDigest(Text("")), "digest: got 0 bytes (0 hex digits)" + digest_wanted},
      {WithDigest(Text("0x")), "digest: got 0 bytes (0 hex digits)" + digest_wanted},
      {WithDigest(Text(std::string(62, 'a'))),
       "digest: got 31 bytes (62 hex digits)" + digest_wanted},
      {WithDigest(Text("0x" + std::string(62, 'a'))),
       "digest: got 31 bytes (62 hex digits)" + digest_wanted},
      {WithDigest(Text(std::string(63, 'a'))), "digest: got 63 hex digits" + digest_wanted},
      {WithDigest(Text(std::string(65, 'a'))), "digest: got 65 hex digits" + digest_wanted},
      {WithDigest(Text(std::string(66, 'a'))),
       "digest: got 33 bytes (66 hex digits)" + digest_wanted},
      {WithDigest(Text(std::string(2000000, 'a'))),
       "digest: got 1000000 bytes (2000000 hex digits)" + digest_wanted},
      {WithDigest(Text("0x" + std::string(2000000, 'a'))),
       "digest: got 1000000 bytes (2000000 hex digits)" + digest_wanted},
      {WithDigest(Text(std::string(2000000, 'a') + "g")),
       "(2000001 characters, not all of them hex"},
      {WithDigest(Text(std::string(63, 'a') + "g")), "(64 characters, not all of them hex digits)"},
      {WithDigest(Text("0x0x" + std::string(62, 'a'))), "not all of them hex digits"},
      {WithDigest("null"), "digest: got null" + digest_wanted},
      {WithDigest("7"), "digest: got a number" + digest_wanted},
      {WithDigest("1e400"), "digest: got a number"},
      {WithDigest("true"), "digest: got true"},
      {WithDigest("[1,[2]]"), "digest: got an array"},
      {WithDigest(R"({"a":{"digest":1}})"), "digest: got an object"},
      {fmt::format(R"({{"keyId":"{}"}})", kKey), "digest: missing" + digest_wanted},
      {fmt::format(R"({{"digest":"{}"}})", kDigest), "keyId: missing, want a key id"},
      {"{}", "keyId: missing"},
      {WithKeyId(Text("")), "keyId: got nothing"},
      {WithKeyId(Text("xyz")), "keyId: got 'xyz', want a key id: a UUID of 36 characters"},
      {WithKeyId(Text(std::string(1000, 'k'))),
       "keyId: got '" + std::string(64, 'k') + "'..., want"},
      {WithKeyId(R"("<script>\u0000\u00e9")"),
       "keyId: got '?script" + std::string(4, '?') + "', want"},
      {WithKeyId("null"), "keyId: got null"},
      {With(R"(,"der":"true")"), "der: got a string, want true or false"},
      {With(R"(,"der":1)"), "der: got a number"},
      {With(R"(,"noWait":0)"), "noWait: got a number, want true or false"},
      {With(R"(,"extra":1)"),
       "'extra': unknown; this object has keyId, digest and, optionally, der and noWait"},
      {With(R"(,"extra":{"a":[1,{"b":2}]})"), "'extra': unknown"},
      {With(R"(,"keyID":"a")"), "'keyID': unknown"},
      {With(R"(,"":1)"), "'': unknown"},
      {With(R"(,"items":[])"), "'items': unknown"},
      {With(fmt::format(R"(,"digest":"{}")", kDigest)), "digest: given twice, want it once"},
      {With(R"(,"tenantId":"a")"), "tenantId: reserved and disabled"},
      {With(R"(,"tenant-id":null)"), "tenant-id: reserved and disabled"},
      {R"({"other":1,"tenant_id":""})", "tenant_id: reserved and disabled"},
      {With(R"(,"Tenant-ID":"a")"), "Tenant-ID: reserved and disabled"},
      {"", "body: empty, want a JSON object"},
      {"[]", "body: got an array, want a JSON object"},
      {"null", "body: got null"},
      {"7", "body: got a number"},
      {"\"text\"", "body: got a string"},
      {"{", "body: JSON ends too early, after 1 bytes"},
      {With("").substr(0, 20), "body: JSON ends too early"},
      {"{]", "body: not valid JSON at byte 1"},
      {"{'keyId':1}", "body: not valid JSON"},
      {With(",}"), "body: not valid JSON"},
      {With("") + "x", "body: not valid JSON"},
      {With("") + "{}", "body: not valid JSON"},
      {"// comment\n" + With(""), "body: not valid JSON"},
      {std::string("{\"keyId\":\"\xff\xfe\"}"), "body: not valid JSON"},
      {std::string("{\"keyId\":\"a\0b\"}", 15), "body: not valid JSON"},
      {std::string(100000, '['), "body: nested deeper than 8 levels"},
      {With(",\"a\":" + std::string(9, '[') + std::string(9, ']')),
       "body: nested deeper than 8 levels"},
  };
  for (const BadBody& bad : kBad) {
    SignRequest request;
    Error error = ParseSign(bad.body, request);
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument) << bad.body.substr(0, 200);
    EXPECT_THAT(error.message, HasSubstr(bad.message)) << bad.body.substr(0, 200);
    EXPECT_LT(error.message.size(), 250u) << "messages stay short";
  }
}

TEST(BatchJson, GoodAndBadItemsStandInTheirPlaces) {
  std::vector<BatchItem> items;
  std::string body = fmt::format(R"({{"items":[{},null,{},[1,[2]],"a",{}]}})", With(""),
                                 WithDigest("7"), With(R"(,"der":true)"));
  EXPECT_TRUE(ParseSignBatch(body, items).ok());
  ASSERT_EQ(items.size(), 6u);
  EXPECT_TRUE(items[0].error.ok());
  EXPECT_EQ(items[1].error.message, "item: got null, want an object");
  EXPECT_THAT(items[2].error.message, HasSubstr("digest: got a number"));
  EXPECT_EQ(items[3].error.message, "item: got an array, want an object");
  EXPECT_EQ(items[4].error.message, "item: got a string, want an object");
  EXPECT_TRUE(items[5].error.ok());
  EXPECT_TRUE(items[5].request.der);
  EXPECT_FALSE(items[0].request.der);
}

TEST(BatchJson, MalformedBatchIsTheCallsError) {
  const BadBody kBad[] = {
      {"{}", "items: missing"},
      {R"({"items":[]})", "items: got none, want 1 to 1024"},
      {R"({"items":{}})", "items: got an object, want an array"},
      {R"({"items":null})", "items: got null, want an array"},
      {R"({"items":[{}],"items":[{}]})", "items: given twice"},
      {R"({"items":[{}],"other":1})", "'other': unknown; this object has items"},
      {R"({"items":[{}],"keyId":"a"})", "'keyId': unknown; this object has items"},
      {R"({"tenantId":"a","items":[{}]})", "tenantId: reserved and disabled"},
      {R"({"items":[{})", "body: JSON ends too early"},
      {"[]", "body: got an array"},
  };
  for (const BadBody& bad : kBad) {
    std::vector<BatchItem> items;
    Error error = ParseSignBatch(bad.body, items);
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument) << bad.body;
    EXPECT_THAT(error.message, HasSubstr(bad.message)) << bad.body;
  }
}

TEST(BatchJson, TheLimitIsTakenAndOneMoreIsNot) {
  auto batch = [](std::size_t n) {
    std::string body = R"({"items":[)";
    for (std::size_t i = 0; i < n; ++i) body += (i > 0 ? "," : "") + With("");
    return body + "]}";
  };
  std::vector<BatchItem> items;
  EXPECT_TRUE(ParseSignBatch(batch(limits::kBatchItemsMax), items).ok());
  EXPECT_EQ(items.size(), limits::kBatchItemsMax);
  EXPECT_EQ(ParseSignBatch(batch(limits::kBatchItemsMax + 1), items).message,
            "items: got more than 1024, want 1 to 1024");
  std::string tiny = R"({"items":[)";
  for (std::size_t i = 0; i <= limits::kBatchItemsMax; ++i) tiny += i > 0 ? ",1" : "1";
  EXPECT_EQ(ParseSignBatch(tiny + "]}", items).message,
            "items: got more than 1024, want 1 to 1024");
}

TEST(CreateJson, NothingAndTheEmptyObjectAreTaken) {
  EXPECT_TRUE(ParseCreate("").ok());
  EXPECT_TRUE(ParseCreate("{}").ok());
  EXPECT_TRUE(ParseCreate(" { } ").ok());
  EXPECT_THAT(ParseCreate(R"({"keyId":"a"})").message, HasSubstr("'keyId': unknown"));
  EXPECT_THAT(ParseCreate(R"({"tenantId":"a"})").message, HasSubstr("reserved and disabled"));
  EXPECT_THAT(ParseCreate("[]").message, HasSubstr("body: got an array"));
  EXPECT_THAT(ParseCreate("x").message, HasSubstr("body: not valid JSON"));
}

TEST(ErrorJson, ForeignTextIsEscapedSoThatTheBodyStaysJson) {
  std::string all;
  for (int c = 0; c < 256; ++c) all.push_back(static_cast<char>(c));
  std::string body;
  AppendError(InvalidArgument(all), "id", 0, body);
  boost::json::value value = boost::json::parse(body);
  std::string message(value.at("error").at("message").as_string());
  EXPECT_EQ(message.substr(0, 127), all.substr(0, 127)) << "ASCII survives";
  EXPECT_EQ(message.substr(127), std::string(129, '?'));
  EXPECT_THAT(body, Not(HasSubstr("retryAfterMs")));
  body.clear();
  AppendError({ErrorCode::kRetryLater, ""}, "id", 70, body);
  EXPECT_THAT(body, HasSubstr(R"("requestId":"id","retryAfterMs":70}})"));
}

TEST(CallRules, TimeIsWrittenAsRfc3339) {
  EXPECT_EQ(FormatTime(WallTime()), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(FormatTime(WallTime(std::chrono::milliseconds(1767323045678))),
            "2026-01-02T03:04:05.678Z");
  EXPECT_EQ(FormatTime(WallTime(std::chrono::milliseconds(-1))), "1969-12-31T23:59:59.999Z");
}

TEST(CallRules, IdempotencyKeyIsOneTo255VisibleCharacters) {
  EXPECT_TRUE(CheckIdempotencyKey("").ok()) << "none";
  EXPECT_TRUE(CheckIdempotencyKey(std::string(255, '~')).ok());
  EXPECT_FALSE(CheckIdempotencyKey(std::string(256, '~')).ok());
  for (const char* bad : {"a b", " ", "a\tb", "\x7f", "\xc3\xa9"}) {
    EXPECT_FALSE(CheckIdempotencyKey(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace bulla
