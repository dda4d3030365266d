#include "bench/transport/http_response.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

constexpr std::size_t kBodyBytesMax = 8192;
const std::string kBody = R"({"signature":"0x)" + std::string(126, '0') + R"(2a","recoveryId":1})";

std::string Answer(std::string_view status, std::string_view fields, std::string_view body) {
  return "HTTP/1.1 " + std::string(status) + "\r\n" + std::string(fields) + "\r\n" +
         std::string(body);
}

ResponseState StateOf(std::string_view bytes) {
  HttpResponse response;
  return ReadResponse(bytes, kBodyBytesMax, response);
}

TEST(HttpResponse, IsReadWholeAndNotBeforeItIsWhole) {
  std::string first =
      Answer("200 OK", "Date: now\r\ncontent-LENGTH: 3\r\nX-Request-Id: a:b\r\n", "abc");
  std::string bytes = first + "HTTP/1.1 ";
  for (std::size_t size = 0; size < first.size(); ++size) {
    EXPECT_EQ(StateOf(bytes.substr(0, size)), ResponseState::kIncomplete) << size;
  }
  HttpResponse response;
  ASSERT_EQ(ReadResponse(bytes, kBodyBytesMax, response), ResponseState::kComplete);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "abc");
  EXPECT_EQ(response.bytes, first.size());
  EXPECT_FALSE(response.close);
}

TEST(HttpResponse, SaysThatTheConnectionEnds) {
  HttpResponse response;
  std::string bytes = Answer("503 Service Unavailable",
                             "Content-Length: 0\r\nConnection: close\r\nRetry-After: 1\r\n", "");
  ASSERT_EQ(ReadResponse(bytes, kBodyBytesMax, response), ResponseState::kComplete);
  EXPECT_EQ(response.status, 503);
  EXPECT_TRUE(response.close);
}

TEST(HttpResponse, WhatTheServiceDoesNotSendIsMalformed) {
  EXPECT_EQ(StateOf("SSH-2.0-OpenSSH\r\n\r\n"), ResponseState::kMalformed);
  EXPECT_EQ(StateOf(Answer("2x0 OK", "Content-Length: 0\r\n", "")), ResponseState::kMalformed);
  EXPECT_EQ(StateOf(Answer("200 OK", "", "")), ResponseState::kMalformed);
  EXPECT_EQ(StateOf(Answer("200 OK", "Content-Length: -1\r\n", "")), ResponseState::kMalformed);
  EXPECT_EQ(StateOf(Answer("200 OK", "Content-Length: 1x\r\n", "ab")), ResponseState::kMalformed);
  EXPECT_EQ(StateOf(Answer("200 OK", "Content-Length: 8193\r\n", "")), ResponseState::kMalformed);
  EXPECT_EQ(StateOf(Answer("200 OK", "no colon\r\n", "")), ResponseState::kMalformed);
}

TEST(HttpResponse, ASignatureIsReadFromItsBody) {
  std::optional<RecoverableSignature> signature = ReadSignature(kBody);
  ASSERT_TRUE(signature);
  EXPECT_EQ(signature->rs[63], 0x2a);
  EXPECT_EQ(signature->recovery_id, 1);
}

TEST(HttpResponse, AnythingElseIsNoSignature) {
  EXPECT_FALSE(ReadSignature(""));
  EXPECT_FALSE(ReadSignature("{}"));
  EXPECT_FALSE(ReadSignature(R"({"signature":"0x00","recoveryId":1})"));
  for (std::size_t size = 0; size < kBody.size(); ++size) {
    EXPECT_FALSE(ReadSignature(kBody.substr(0, size))) << size;
  }
  std::string four = kBody;
  four[four.size() - 2] = '4';
  EXPECT_FALSE(ReadSignature(four));
}

TEST(BatchResponse, ItsItemsAreReadInTheirOrderErrorsAmongThem) {
  // A brace and a quote in a message end nothing.
  const std::string error = R"({"error":{"code":"INVALID_KEY","message":"no } \" ]} here"}})";
  std::vector<BatchResult> results;
  const std::string body = "{\"results\":[" + kBody + "," + error + "," + kBody + "]}";
  ASSERT_TRUE(ReadBatch(body, results));
  ASSERT_EQ(results.size(), 3u);
  EXPECT_TRUE(results[0].signature);
  EXPECT_FALSE(results[1].signature);
  EXPECT_EQ(results[1].text, error);
  EXPECT_EQ(TextMember(results[1].text, "code"), "INVALID_KEY");
  EXPECT_TRUE(results[2].signature);
  const std::string one = "{\"results\":[" + error + "]}";
  ASSERT_TRUE(ReadBatch(one, results));
  EXPECT_EQ(results.size(), 1u);
}

TEST(BatchResponse, AnythingElseIsNone) {
  std::vector<BatchResult> results;
  const std::string batch = "{\"results\":[" + kBody + "]}";
  for (std::size_t size = 0; size < batch.size(); ++size) {
    EXPECT_FALSE(ReadBatch(batch.substr(0, size), results)) << size;
  }
  for (const char* body : {"{\"results\":[]}", "{\"results\":[{},]}", "{\"results\":[{}]} ",
                           "{\"results\":[1]}", "{\"other\":[{}]}"}) {
    EXPECT_FALSE(ReadBatch(body, results)) << body;
  }
}

TEST(HttpResponse, AMemberIsFoundByItsWholeName) {
  std::string_view body = R"({"aName":"1","name":"2","nam":3})";
  EXPECT_EQ(TextMember(body, "name"), "2");
  EXPECT_EQ(TextMember(body, "nam"), "");
  EXPECT_EQ(TextMember(body, "other"), "");
}

}  // namespace
}  // namespace bulla
