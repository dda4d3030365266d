#include "gateway/http/server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/bytes.h"
#include "tests/fakes/front_end_test.h"
#include "tests/fakes/raw_http_client.h"

namespace bulla {
namespace {

using ::testing::HasSubstr;
namespace json = boost::json;

constexpr char kDigestText[] = "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

class HttpServerTest : public FrontEndTest<HttpServer> {
 protected:
  std::string SignBody(std::string_view extra = {}) const {
    return fmt::format(R"({{"keyId":"{}","digest":"{}"{}}})", key_id_.ToString(), kDigestText,
                       extra);
  }
  std::string ExpectedSignature() const {
    Digest32 digest;
    HexDecode(kDigestText, digest);
    return HexEncode0x(FakeSignerService::SignatureOf(key_id_, digest).rs);
  }
  // 2 KiB that are answered with 200 KiB.
  static std::string BadBatch() {
    std::string items = "1";
    for (std::size_t i = 1; i < limits::kBatchItemsMax; ++i) items += ",1";
    return RawHttpClient::PostText("/sign/batch", fmt::format(R"({{"items":[{}]}})", items));
  }
  // What every test of something bad ends with: the next caller is served.
  void ExpectStillServes() {
    RawHttpClient client(address_);
    RawHttpAnswer answer = client.Post("/sign", SignBody());
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_THAT(answer.body, HasSubstr(ExpectedSignature()));
  }

  static json::object ErrorOf(const RawHttpAnswer& answer) {
    json::error_code ec;
    json::value body = json::parse(answer.body, ec);
    if (ec || !body.is_object() || !body.as_object().contains("error")) return {};
    return body.at("error").as_object();
  }
  // The answer is an error of the table in the shape of the contract.
  static void ExpectError(const RawHttpAnswer& answer, int status, std::string_view code,
                          std::string_view message_part) {
    EXPECT_EQ(answer.status, status) << answer.body;
    json::object error = ErrorOf(answer);
    ASSERT_TRUE(error.contains("code")) << "no error of the table: " << answer.body;
    EXPECT_EQ(error["code"].as_string(), json::string_view(code.data(), code.size()));
    EXPECT_THAT(std::string(error["message"].as_string()), HasSubstr(std::string(message_part)));
    EXPECT_EQ(error["requestId"].as_string(), answer.headers.at("x-request-id"));
    EXPECT_EQ(answer.headers.at("content-type"), "application/json");
  }
};

TEST_F(HttpServerTest, SignAnswersTheSignatureOfTheService) {
  StartServer();
  RawHttpClient client(address_);
  RawHttpAnswer answer = client.Post("/sign", SignBody());
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body,
            fmt::format(R"({{"signature":"{}","recoveryId":0}})", ExpectedSignature()));
  EXPECT_EQ(answer.headers["content-type"], "application/json");
  EXPECT_EQ(answer.headers["cache-control"], "no-store");
}

TEST_F(HttpServerTest, DerComesOnRequestOnly) {
  StartServer();
  RawHttpClient client(address_);
  EXPECT_THAT(client.Post("/sign", SignBody(R"(,"der":true)")).body, HasSubstr(R"("der":"0x30)"));
  EXPECT_THAT(client.Post("/sign", SignBody(R"(,"der":false)")).body,
              ::testing::Not(HasSubstr("der")));
}

TEST_F(HttpServerTest, CreateAnswersThePublicPartsAndPassesTheIdempotencyKey) {
  StartServer();
  RawHttpClient client(address_);
  RawHttpAnswer first = client.Post("/create", "", "Idempotency-Key: order-1\r\n");
  EXPECT_EQ(first.status, 200);
  json::object body = json::parse(first.body).as_object();
  EXPECT_EQ(body.size(), 3u) << first.body;
  EXPECT_EQ(body["publicKey"].as_string().size(), 2u + 66u);
  EXPECT_EQ(body["address"].as_string(), FakeSignerService::MakeKey(0).address);
  EXPECT_EQ(service_.last_create()->idempotency_key, "order-1");
  EXPECT_EQ(service_.last_request_id(), first.headers["x-request-id"]);
  EXPECT_EQ(client.Post("/create", "{}", "Idempotency-Key: order-1\r\n").body, first.body);
  EXPECT_NE(client.Post("/create", "{}").body, first.body);
}

TEST_F(HttpServerTest, KeysAnswersThePublicMetadata) {
  StartServer();
  RawHttpClient client(address_);
  json::object body = json::parse(client.Get("/keys/" + key_id_.ToString()).body).as_object();
  EXPECT_EQ(body["keyId"].as_string(), key_id_.ToString());
  EXPECT_EQ(body["createdAt"].as_string(), "2026-01-02T03:04:05.678Z");
  EXPECT_EQ(body["status"].as_string(), "ENABLED");
  ExpectError(client.Get("/keys/01234567-89ab-7def-8123-456789abcdef"), 404, "INVALID_KEY", "");
  ExpectError(client.Get("/keys/xyz"), 400, "INVALID_ARGUMENT", "keyId: got 'xyz'");
}

TEST_F(HttpServerTest, BatchAnswersEachItemInItsPlace) {
  StartServer();
  RawHttpClient client(address_);
  KeyId busy = service_.AddKey(8);
  service_.SetOutcome(busy, ErrorCode::kRetryLater);
  std::string items = fmt::format(
      R"({{"items":[{},{{"keyId":"{}","digest":"00"}},7,{{"keyId":"{}","digest":"{}"}},{}]}})",
      SignBody(), key_id_.ToString(), busy.ToString(), kDigestText, SignBody(R"(,"der":true)"));
  RawHttpAnswer answer = client.Post("/sign/batch", items);
  EXPECT_EQ(answer.status, 200);
  json::array results = json::parse(answer.body).at("results").as_array();
  ASSERT_EQ(results.size(), 5u) << answer.body;
  EXPECT_EQ(results[0].at("signature").as_string(), ExpectedSignature());
  EXPECT_THAT(json::serialize(results[1]), HasSubstr("digest: got 1 bytes (2 hex digits)"));
  EXPECT_THAT(json::serialize(results[2]), HasSubstr("item: got a number"));
  EXPECT_EQ(results[3].at("error").at("code").as_string(), "RETRY_LATER");
  EXPECT_GE(results[3].at("error").at("retryAfterMs").as_int64(), 50);
  EXPECT_TRUE(results[4].as_object().contains("der"));
}

TEST_F(HttpServerTest, BatchOfBadItemsOnlyIsAnswered) {
  StartServer();
  RawHttpClient client(address_);
  RawHttpAnswer answer = client.Post("/sign/batch", R"({"items":[1,2]})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(json::parse(answer.body).at("results").as_array().size(), 2u);
}

TEST_F(HttpServerTest, EveryErrorOfTheServiceHasItsStatusAndHint) {
  StartServer();
  RawHttpClient client(address_);
  for (int i = 1; i < kErrorCodeCount; ++i) {
    const ErrorRow& row = ErrorRowOf(static_cast<ErrorCode>(i));
    service_.SetOutcome(key_id_, row.code);
    RawHttpAnswer answer = client.Post("/sign", SignBody());
    ExpectError(answer, row.http_status, row.name, row.message);
    EXPECT_EQ(answer.headers.contains("retry-after"), row.retryable) << row.name;
    EXPECT_EQ(ErrorOf(answer).contains("retryAfterMs"), row.retryable) << row.name;
    if (!row.retryable) continue;
    const std::int64_t wait_ms = ErrorOf(answer)["retryAfterMs"].as_int64();
    EXPECT_EQ(answer.headers["retry-after"], std::to_string((wait_ms + 999) / 1000));
    EXPECT_EQ(answer.headers["retry-after-ms"], std::to_string(wait_ms));
  }
}

TEST_F(HttpServerTest, AnErrorThatTakesLongerHintsAtLonger) {
  StartServer();
  RawHttpClient client(address_);
  service_.SetKeyOutcome({ErrorCode::kUnavailable, "the disk is full", 1000});
  RawHttpAnswer answer = client.Post("/create", "{}");
  ExpectError(answer, 503, "UNAVAILABLE", "the disk is full");
  EXPECT_GE(ErrorOf(answer)["retryAfterMs"].as_int64(), 1000);
  EXPECT_EQ(answer.headers["retry-after-ms"],
            std::to_string(ErrorOf(answer)["retryAfterMs"].as_int64()));
}

TEST_F(HttpServerTest, RequestIdIsEchoedWhenHarmlessAndReplacedWhenNot) {
  StartServer();
  RawHttpClient client(address_);
  EXPECT_EQ(client.Post("/sign", SignBody(), "X-Request-Id: a.B_9:-\r\n").headers["x-request-id"],
            "a.B_9:-");
  std::string longest(128, 'a');
  EXPECT_EQ(client.Post("/sign", "x", "X-Request-Id: " + longest + "\r\n").headers["x-request-id"],
            longest)
      << "on errors too";
  std::set<std::string> made;
  for (const std::string& bad :
       {longest + "a", std::string("a b"), std::string("<script>"), std::string("caf\xc3\xa9")}) {
    RawHttpAnswer answer = client.Post("/sign", SignBody(), "X-Request-Id: " + bad + "\r\n");
    EXPECT_EQ(answer.status, 200);
    EXPECT_NE(answer.headers["x-request-id"], bad);
    made.insert(answer.headers["x-request-id"]);
  }
  EXPECT_EQ(made.size(), 4u) << "each new one is another";
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  StartServer();
  RawHttpClient client(address_);
  std::string all;
  for (int i = 0; i < 200; ++i) {
    std::string header = fmt::format("X-Request-Id: r{}\r\n", i);
    all += i % 3 == 0   ? RawHttpClient::PostText("/sign", SignBody(), header)
           : i % 3 == 1 ? RawHttpClient::PostText("/sign", "no json", header)
                        : RawHttpClient::PostText("/create", "", header);
  }
  ASSERT_TRUE(client.Send(all));
  for (int i = 0; i < 200; ++i) {
    RawHttpAnswer answer = client.Read();
    ASSERT_EQ(answer.status, i % 3 == 1 ? 400 : 200) << i;
    ASSERT_EQ(answer.headers["x-request-id"], fmt::format("r{}", i));
  }
}

TEST_F(HttpServerTest, RequestMayArriveByteByByteAndInChunks) {
  StartServer();
  RawHttpClient client(address_);
  for (char c : RawHttpClient::PostText("/sign", SignBody())) client.Send({&c, 1});
  EXPECT_EQ(client.Read().status, 200);
  std::string body = SignBody();
  std::string chunked =
      "POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n";
  for (char c : body) chunked += fmt::format("1\r\n{}\r\n", c);
  client.Send(chunked + "0\r\n\r\n");
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(HttpServerTest, ManyConnectionsGetTheirOwnAnswers) {
  StartServer();
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      RawHttpClient client(address_);
      for (int i = 0; i < 100; ++i) {
        Digest32 digest{};
        digest[0] = static_cast<std::uint8_t>(t);
        digest[1] = static_cast<std::uint8_t>(i);
        RawHttpAnswer answer =
            client.Post("/sign", fmt::format(R"({{"keyId":"{}","digest":"{}"}})",
                                             key_id_.ToString(), HexEncode(digest)));
        std::string want = HexEncode0x(FakeSignerService::SignatureOf(key_id_, digest).rs);
        if (answer.body.find(want) != std::string::npos) ++good;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 800);
}

TEST_F(HttpServerTest, DrainAnswersWhatWasAcceptedAndThenCloses) {
  StartServer();
  service_.Hold();
  std::vector<std::unique_ptr<RawHttpClient>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<RawHttpClient>(address_));
    clients.back()->Send(i % 4 == 0 ? RawHttpClient::PostText("/create", "")
                                    : RawHttpClient::PostText("/sign", SignBody()));
  }
  ASSERT_TRUE(service_.WaitUntilHeld(20));
  bool drained = false;
  std::thread drain([&] { drained = server_->Drain(clock_.Now() + std::chrono::seconds(10)); });
  // The listener closes as the drain begins; until then connections are still served.
  while (RawHttpClient(address_).connected()) std::this_thread::yield();
  service_.Release();
  for (auto& client : clients) {
    RawHttpAnswer answer = client->Read();
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.headers["connection"], "close");
    EXPECT_TRUE(client->ReadsEnd());
  }
  clients.clear();
  drain.join();
  EXPECT_TRUE(drained);
}

TEST_F(HttpServerTest, DrainServesPipelinedRequestsToTheLast) {
  StartServer();
  service_.Hold();
  auto client = std::make_unique<RawHttpClient>(address_);
  std::string all;
  for (int i = 0; i < 100; ++i) all += RawHttpClient::PostText("/sign", SignBody());
  client->Send(all);
  ASSERT_TRUE(service_.WaitUntilHeld(1));
  std::thread drain([&] { server_->Drain(clock_.Now() + std::chrono::seconds(10)); });
  while (RawHttpClient(address_).connected()) std::this_thread::yield();
  service_.Release();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(client->Read().status, 200) << i;
  EXPECT_TRUE(client->ReadsEnd());
  client.reset();
  drain.join();
}

TEST_F(HttpServerTest, DrainGivesUpAtItsDeadline) {
  StartServer();
  service_.Hold();
  RawHttpClient client(address_);
  client.Send(RawHttpClient::PostText("/sign", SignBody()));
  ASSERT_TRUE(service_.WaitUntilHeld(1));
  EXPECT_FALSE(server_->Drain(clock_.Now()));
  service_.Release();
}

TEST_F(HttpServerTest, StopWaitsForCallsThatAreOut) {
  StartServer();
  service_.Hold();
  RawHttpClient client(address_);
  client.Send(RawHttpClient::PostText("/sign", SignBody()));
  ASSERT_TRUE(service_.WaitUntilHeld(1));
  std::thread stop([&] { server_->Stop(); });
  EXPECT_TRUE(client.ReadsEnd());
  service_.Release();
  stop.join();
}

TEST_F(HttpServerTest, TooManyConnectionsAtWorkAreRefusedAtOnce) {
  HttpServer::Options options;
  options.connections_max = 2;
  StartServer(options);
  service_.Hold();
  RawHttpClient first(address_);
  RawHttpClient second(address_);
  first.Send(RawHttpClient::PostText("/sign", SignBody()));
  second.Send(RawHttpClient::PostText("/sign", SignBody()));
  ASSERT_TRUE(service_.WaitUntilHeld(2));
  RawHttpClient third(address_);
  ExpectError(third.Read(), 429, "RETRY_LATER", "at its limit");
  EXPECT_TRUE(third.ReadsEnd());
  service_.Release();
  EXPECT_EQ(first.Read().status, 200);
  EXPECT_EQ(second.Read().status, 200);
}

TEST_F(HttpServerTest, WhoWaitsLongestMakesRoomForANewcomer) {
  HttpServer::Options options;
  options.connections_max = 2;
  options.threads = 1;
  StartServer(options);
  RawHttpClient first(address_);
  RawHttpClient second(address_);
  EXPECT_EQ(first.Post("/sign", SignBody()).status, 200);
  EXPECT_EQ(second.Post("/sign", SignBody()).status, 200);
  EXPECT_EQ(first.Post("/sign", SignBody()).status, 200);
  RawHttpClient third(address_);
  EXPECT_EQ(third.Post("/sign", SignBody()).status, 200);
  EXPECT_TRUE(second.ReadsEnd());
  EXPECT_EQ(first.Post("/sign", SignBody()).status, 200);
}

// An address that opens sockets without end takes places from itself alone, also when it has sent
// part of a request on each.
TEST_F(HttpServerTest, OneAddressCannotKeepOthersOut) {
  constexpr std::size_t kPlaces = 20;
  HttpServer::Options options;
  options.connections_max = kPlaces;
  options.threads = 1;
  StartServer(options);
  RawHttpClient early(address_, "127.0.0.2");
  EXPECT_EQ(early.Post("/sign", SignBody()).status, 200);
  std::vector<std::unique_ptr<RawHttpClient>> greedy;
  for (std::size_t i = 0; i < 3 * kPlaces; ++i) {
    greedy.push_back(std::make_unique<RawHttpClient>(address_, "127.0.0.3"));
    if (i % 2 == 0) greedy.back()->Send("POST /sign HTTP/1.1\r\nHost: ");
  }
  for (int late = 4; late < 9; ++late) {
    RawHttpClient client(address_, fmt::format("127.0.0.{}", late));
    EXPECT_EQ(client.Post("/sign", SignBody()).status, 200) << late;
  }
  EXPECT_EQ(early.Post("/sign", SignBody()).status, 200) << "it was idle longest of all";
  EXPECT_TRUE(greedy.front()->ReadsEnd());
}

// How many clients a few requests were from, according to admission.
class BehindProxiesTest : public HttpServerTest {
 protected:
  void StartBehind(const char* trusted, ForwardedField field, bool proxy_protocol) {
    HttpServer::Options options;
    options.forwarded = {.field = field, .proxies = *IpNetworks::Parse({trusted})};
    options.proxy_protocol = proxy_protocol;
    StartServer(options);
    Clients();  // counting begins
  }
  double Clients() {
    now_ += std::chrono::seconds(2);
    admission_->Tick(now_, {});
    const std::string name = "\nbulla_gateway_clients ";
    const std::string text = metrics_.Exposition();
    return std::stod(text.substr(text.find(name) + name.size()));
  }
  int Sign(RawHttpClient& client, const std::string& fields = {}) {
    return client.Post("/sign", SignBody(), fields).status;
  }

  MonotonicTime now_{std::chrono::hours(1)};
};

TEST_F(BehindProxiesTest, AProxyHeaderSaysWhoseTheConnectionIs) {
  StartBehind("127.0.0.1", ForwardedField::kNone, true);
  for (int i = 1; i <= 3; ++i) {
    RawHttpClient client(address_);
    client.Send(fmt::format("PROXY TCP4 192.0.2.{} 127.0.0.1 1 2\r\n", i));
    EXPECT_EQ(Sign(client), 200);
    EXPECT_EQ(Sign(client), 200);
  }
  EXPECT_EQ(Clients(), 3);
  RawHttpClient slow(address_);
  const std::string v2("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x7f\0\0\x01\0\1\0\2",
                       28);
  for (char byte : v2) slow.Send(std::string(1, byte));
  EXPECT_EQ(Sign(slow), 200);
  EXPECT_EQ(Clients(), 1);
}

TEST_F(BehindProxiesTest, AConnectionOfAProxyWithoutAHeaderIsClosed) {
  StartBehind("127.0.0.1", ForwardedField::kNone, true);
  for (const char* begin :
       {"GET /keys/x HTTP/1.1\r\nHost: localhost\r\n\r\n", "PROXY TCP4 1.2.3.4\r\n",
        "PROXY TCP4 1.2.3.400 1.2.3.4 1 1\r\n", "\r\n\r\nGET"}) {
    RawHttpClient client(address_);
    client.Send(begin);
    EXPECT_EQ(client.Read().status, 0) << begin;
  }
}

TEST_F(BehindProxiesTest, WhoIsNotTrustedSpeaksForItselfAlone) {
  StartBehind("127.0.0.9", ForwardedField::kXForwardedFor, true);
  RawHttpClient liar(address_);
  liar.Send("PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n");
  EXPECT_EQ(liar.Read().status, 400);
  RawHttpClient client(address_);
  for (const char* other : {"192.0.2.1", "192.0.2.2"}) {
    EXPECT_EQ(Sign(client, fmt::format("X-Forwarded-For: {}\r\n", other)), 200);
  }
  EXPECT_EQ(Clients(), 1);
}

TEST_F(BehindProxiesTest, AFieldSaysWhoseTheRequestIs) {
  StartBehind("127.0.0.0/8", ForwardedField::kXForwardedFor, false);
  RawHttpClient client(address_);
  for (const char* fields :
       {"X-Forwarded-For: 192.0.2.1\r\n", "X-Forwarded-For: 6.6.6.6, 192.0.2.2\r\n",
        "X-Forwarded-For: 6.6.6.7\r\nx-forwarded-for: 192.0.2.2, 127.0.0.3\r\n",
        "X-Forwarded-For: 192.0.2.3\r\nForwarded: for=6.6.6.8\r\n"}) {
    EXPECT_EQ(Sign(client, fields), 200);
  }
  EXPECT_EQ(Clients(), 3);
  EXPECT_EQ(Sign(client), 200);
  EXPECT_EQ(Sign(client, "Forwarded: for=6.6.6.8\r\n"), 200);
  EXPECT_EQ(Clients(), 1) << "the proxy itself";
  EXPECT_EQ(admission_->in_flight(), 0u);
}

TEST_F(BehindProxiesTest, SoDoesForwarded) {
  StartBehind("127.0.0.1", ForwardedField::kForwarded, false);
  RawHttpClient client(address_);
  EXPECT_EQ(Sign(client, "Forwarded: for=6.6.6.6\r\nForwarded: for=\"[2001:db8::1]:4\"\r\n"), 200);
  EXPECT_EQ(Sign(client, "Forwarded: for=192.0.2.1;proto=https\r\n"), 200);
  EXPECT_EQ(Clients(), 2);
}

TEST_F(HttpServerTest, CreatesAndLookUpsAreLetInLikeSignatures) {
  admission_settings_.in_flight_max = 1;
  StartServer();
  service_.Hold();
  RawHttpClient signing(address_);
  signing.Send(RawHttpClient::PostText("/sign", SignBody()));
  ASSERT_TRUE(service_.WaitUntilHeld(1));
  RawHttpClient client(address_);
  ExpectError(client.Post("/create", "{}"), 429, "RETRY_LATER", "at its limit");
  ExpectError(client.Get("/keys/" + key_id_.ToString()), 429, "RETRY_LATER", "at its limit");
  service_.Release();
  EXPECT_EQ(signing.Read().status, 200);
  for (int i = 0; i < 3; ++i) {  // what was taken for one is given back
    EXPECT_EQ(client.Post("/create", "{}").status, 200);
    EXPECT_EQ(client.Get("/keys/" + key_id_.ToString()).status, 200);
  }
  EXPECT_EQ(admission_->in_flight(), 0u);
}

TEST(HttpConnections, LeaveDescriptorsForEverythingElse) {
  EXPECT_EQ(HttpServer::ConnectionsMax(1'000'000), limits::kHttpConnectionsMax);
  EXPECT_EQ(HttpServer::ConnectionsMax(limits::kOtherDescriptors + 5000), 5000u);
  EXPECT_EQ(HttpServer::ConnectionsMax(1024), 512u);
}

TEST_F(HttpServerTest, RefusalOfAConnectionOutlivesTheRequestThatMeetsIt) {
  HttpServer::Options options;
  options.connections_max = 1;
  StartServer(options);
  service_.Hold();
  RawHttpClient first(address_);
  first.Send(RawHttpClient::PostText("/sign", SignBody()));
  ASSERT_TRUE(service_.WaitUntilHeld(1));
  for (int i = 0; i < 100; ++i) {
    RawHttpClient another(address_);
    another.Send(RawHttpClient::PostText("/sign", SignBody()));
    another.Send(std::string(1'000'000, ' '));  // more than the listener's buffers take
    ASSERT_EQ(another.Read().status, 429) << i;
    EXPECT_TRUE(another.ReadsEnd());
  }
  service_.Release();
  EXPECT_EQ(first.Read().status, 200);
}

TEST_F(HttpServerTest, LargeRequestsAreRefusedWhenTheirPoolIsUsedUp) {
  HttpServer::Options options;
  options.request_pool_bytes = 0;
  StartServer(options);
  std::string field = "A: " + std::string(5000, 'a') + "\r\n";
  for (const std::string& large :
       {RawHttpClient::PostText("/sign", SignBody(), field),
        RawHttpClient::PostText("/sign", SignBody() + std::string(5000, ' '))}) {
    RawHttpClient client(address_);
    client.Send(large);
    ExpectError(client.Read(), 429, "RETRY_LATER", "at its limit");
    EXPECT_TRUE(client.ReadsEnd());
  }
  ExpectStillServes();
}

TEST_F(HttpServerTest, CallerWhoDoesNotReadIsLetGoWhenThePoolOfAnswersIsUsedUp) {
  HttpServer::Options options;
  options.answer_pool_bytes = 0;
  StartServer(options);
  RawHttpClient client(address_);
  int sent = 0;
  // Were they held for him instead, he could not send on for want of room, and then read all.
  while (client.Send(BadBatch())) ++sent;
  int answers = 0;
  while (client.Read().status == 200) ++answers;
  EXPECT_LT(answers, sent);
  ExpectStillServes();
}

TEST_F(HttpServerTest, CallerWhoReadsLateGetsEveryAnswer) {
  StartServer();
  RawHttpClient client(address_);
  constexpr int kBatches = 200;  // 40 MB of answers: more than the kernel holds of one connection
  for (int i = 0; i < kBatches; ++i) ASSERT_TRUE(client.Send(BadBatch()));
  for (int i = 0; i < kBatches; ++i) ASSERT_EQ(client.Read().status, 200) << i;
}

TEST_F(HttpServerTest, TooManyCallsInFlightAreRefusedAtOnce) {
  admission_settings_.in_flight_max = 2;
  StartServer();
  service_.Hold();
  RawHttpClient first(address_);
  first.Send(
      RawHttpClient::PostText("/sign/batch", fmt::format(R"({{"items":[{0},{0}]}})", SignBody())));
  ASSERT_TRUE(service_.WaitUntilHeld(2));
  RawHttpClient second(address_);
  ExpectError(second.Post("/sign", SignBody()), 429, "RETRY_LATER", "at its limit");
  service_.Release();
  EXPECT_EQ(first.Read().status, 200);
  EXPECT_EQ(second.Post("/sign", SignBody()).status, 200);
}

TEST_F(HttpServerTest, OfABatchWhatHasRoomIsSigned) {
  admission_settings_.in_flight_max = 2;
  StartServer();
  RawHttpClient client(address_);
  for (int i = 0; i < 2; ++i) {  // what was let in is released again
    RawHttpAnswer answer =
        client.Post("/sign/batch", fmt::format(R"({{"items":[{0},7,{0},{0}]}})", SignBody()));
    EXPECT_EQ(answer.status, 200) << answer.body;
    json::array results = json::parse(answer.body).at("results").as_array();
    ASSERT_EQ(results.size(), 4u) << answer.body;
    EXPECT_TRUE(results[0].as_object().contains("signature"));
    EXPECT_EQ(results[1].at("error").at("code").as_string(), "INVALID_ARGUMENT");
    EXPECT_TRUE(results[2].as_object().contains("signature"));
    EXPECT_EQ(results[3].at("error").at("code").as_string(), "RETRY_LATER");
    EXPECT_GE(results[3].at("error").at("retryAfterMs").as_int64(), 50);
  }
  EXPECT_EQ(admission_->in_flight(), 0u);
}

TEST_F(HttpServerTest, RequestThatDoesNotEndIsAnsweredWithATimeout) {
  HttpTimeouts timeouts;
  timeouts.header = timeouts.body = std::chrono::milliseconds(1);
  StartServer({.timeouts = timeouts});
  for (std::string_view begun :
       {"POST /sign HTTP/1.1\r\nHost: localhost\r\n",
        "POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"}) {
    RawHttpClient client(address_);
    client.Send(begun);
    ExpectError(client.Read(), 408, "INVALID_ARGUMENT", "not complete in time");
    EXPECT_TRUE(client.ReadsEnd());
  }
  server_.reset();
}

// Each of the hot time-outs; a connection that waits already gets the one that was changed.
TEST_F(HttpServerTest, ConnectionThatWaitsIsGivenUpWhenTheTimeoutBecomesShorter) {
  using Timeout = Hot<std::chrono::milliseconds> HttpTimeouts::*;
  for (const auto& [timeout, sent] :
       {std::pair<Timeout, std::string>{&HttpTimeouts::idle, ""},
        {&HttpTimeouts::header, "POST /sign HTTP/1.1\r\nHost: localhost\r\n"},
        {&HttpTimeouts::body,
         "POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"}}) {
    HttpTimeouts timeouts;
    StartServer({.timeouts = timeouts});
    RawHttpClient client(address_);
    client.Post("/sign", SignBody());
    if (!sent.empty()) client.Send(sent);
    timeouts.*timeout = std::chrono::milliseconds(1);
    if (!sent.empty()) ExpectError(client.Read(), 408, "INVALID_ARGUMENT", "not complete in time");
    EXPECT_TRUE(client.ReadsEnd());
    server_.reset();
  }
}

// The client's own patience is ten seconds: after these it would read every answer.
TEST_F(HttpServerTest, WhoDoesNotReadIsGivenUpWhenTheTimeoutOfWritesBecomesShorter) {
  HttpTimeouts timeouts;
  StartServer({.timeouts = timeouts});
  RawHttpClient client(address_);
  constexpr int kBatches = 200;  // as above
  for (int i = 0; i < kBatches; ++i) ASSERT_TRUE(client.Send(BadBatch()));
  timeouts.write = std::chrono::milliseconds(1);
  while (client.Send(BadBatch())) continue;
  int answers = 0;
  while (client.Read().status == 200) ++answers;
  EXPECT_LT(answers, kBatches);
  server_.reset();
}

TEST_F(HttpServerTest, CallsHaveTheTimeoutsAndHintsThatTheSettingsSayNow) {
  StartServer({.calls = calls_});
  RawHttpClient client(address_);
  for (const auto timeout : {std::chrono::milliseconds(700), std::chrono::milliseconds(60'000)}) {
    calls_.sign_timeout = calls_.create_timeout = timeout;
    const MonotonicTime before = clock_.Now();
    client.Post("/sign", SignBody());
    client.Post("/create", "{}");
    for (const MonotonicTime deadline :
         {service_.last_deadline(), service_.last_create()->deadline}) {
      EXPECT_GE(deadline, before + timeout);
      EXPECT_LE(deadline, clock_.Now() + timeout);
    }
  }
  service_.SetOutcome(key_id_, ErrorCode::kRetryLater);
  for (const int hint_ms : {7, 4711}) {
    calls_.retry_hint_min = calls_.retry_hint_max = std::chrono::milliseconds(hint_ms);
    EXPECT_EQ(client.Post("/sign", SignBody()).headers["retry-after-ms"], std::to_string(hint_ms));
  }
}

TEST_F(HttpServerTest, HowManyCallsAreLetInIsWhatTheSettingSaysNow) {
  StartServer();
  RawHttpClient client(address_);
  service_.Hold();
  RawHttpClient holder(address_);
  holder.Send(
      "POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: " +
      std::to_string(SignBody().size()) + "\r\n\r\n" + SignBody());
  ASSERT_TRUE(service_.WaitUntilHeld(1));
  admission_settings_.in_flight_max = 1;
  ExpectError(client.Post("/sign", SignBody()), 429, "RETRY_LATER", "");
  service_.Release();
  EXPECT_EQ(holder.Read().status, 200);
  EXPECT_EQ(client.Post("/sign", SignBody()).status, 200);
}

TEST_F(HttpServerTest, SecondServerOnTheSamePortIsRefused) {
  StartServer();
  HttpServer::Options options;
  options.listen = address_;
  HttpServer second(options, *chain_, clients_, metrics_, clock_);
  EXPECT_FALSE(second.Start().ok());
}

TEST_F(HttpServerTest, RequestsAreCounted) {
  StartServer();
  RawHttpClient client(address_);
  client.Post("/sign", SignBody());
  client.Post("/sign", "{");
  server_->Stop();
  std::string text = metrics_.Exposition();
  EXPECT_THAT(text,
              HasSubstr(R"(http_grpc_requests_total{code="OK",method="sign",protocol="http"} 1)"));
  EXPECT_THAT(
      text,
      HasSubstr(
          R"(http_grpc_requests_total{code="INVALID_ARGUMENT",method="sign",protocol="http"} 1)"));
}

}  // namespace
}  // namespace bulla
