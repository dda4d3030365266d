#include "gateway/admin_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <boost/json/parse.hpp>

#include "tests/fakes/fake_signer_service.h"
#include "tests/fakes/raw_http_client.h"

namespace bulla {
namespace {

using ::testing::HasSubstr;

class AdminServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    AdminServer::Sources sources;
    sources.not_ready_because = [this] { return reasons_; };
    sources.status_json = [] { return std::string(R"({"enclaves":2})"); };
    sources.list_keys = [this](std::optional<KeyId> after, std::size_t limit,
                               AdminServer::KeysDone done) {
      after_ = after;
      limit_ = limit;
      // From another thread, as the store answers.
      std::thread([this, done = std::move(done)] { done(keys_); }).join();
    };
    server_ = std::make_unique<AdminServer>("127.0.0.1:0", std::move(sources), metrics_);
    absl::StatusOr<std::string> address = server_->Start();
    ASSERT_TRUE(address.ok()) << address.status();
    address_ = *address;
  }

  // Written before the request that makes the server's thread read them.
  std::vector<std::string> reasons_;
  absl::StatusOr<std::vector<KeyRow>> keys_ = std::vector<KeyRow>();
  std::optional<KeyId> after_;
  std::size_t limit_ = 0;

  Metrics metrics_;
  std::unique_ptr<AdminServer> server_;
  std::string address_;
};

TEST_F(AdminServerTest, HealthIsAliveAndReadinessGivesItsReasons) {
  RawHttpClient client(address_);
  EXPECT_EQ(client.Get("/healthz").status, 200);
  EXPECT_EQ(client.Get("/readyz").body, R"({"ready":true,"reasons":[]})");
  reasons_ = {"no enclave", "say \"hello\""};
  RawHttpAnswer answer = client.Get("/readyz");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body, R"({"ready":false,"reasons":["no enclave","say \"hello\""]})");
}

TEST_F(AdminServerTest, MetricsAreInPrometheusText) {
  metrics_.AddCounter("retry_total", "Retries").Increment();
  RawHttpClient client(address_);
  RawHttpAnswer answer = client.Get("/metrics");
  EXPECT_EQ(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_THAT(answer.body, HasSubstr("retry_total 1"));
}

TEST_F(AdminServerTest, StatusIsWhatTheSourceSays) {
  EXPECT_EQ(RawHttpClient(address_).Get("/status").body, R"({"enclaves":2})");
}

TEST_F(AdminServerTest, KeysAreListedByPage) {
  keys_ = std::vector<KeyRow>{FakeSignerService::MakeKey(1), FakeSignerService::MakeKey(2)};
  RawHttpClient client(address_);
  RawHttpAnswer answer = client.Get("/keys?limit=2&after=01234567-89ab-7def-8123-456789abcdef");
  EXPECT_EQ(answer.status, 200);
  boost::json::array keys = boost::json::parse(answer.body).at("keys").as_array();
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys[1].at("keyId").as_string(), FakeSignerService::MakeKey(2).key_id.ToString());
  EXPECT_EQ(limit_, 2u);
  EXPECT_EQ(after_, KeyId::Parse("01234567-89ab-7def-8123-456789abcdef"));
  EXPECT_EQ(client.Get("/keys").status, 200);
  EXPECT_EQ(limit_, 100u);
  EXPECT_EQ(after_, std::nullopt);
}

TEST_F(AdminServerTest, BadRequestsAreRefusedAndTheNextIsServed) {
  RawHttpClient client(address_);
  for (const char* path : {"/keys?limit=0", "/keys?limit=1001", "/keys?limit=1x", "/keys?limit",
                           "/keys?after=xyz", "/keys?other=1"}) {
    EXPECT_EQ(client.Get(path).status, 400) << path;
  }
  EXPECT_EQ(client.Get("/other").status, 404);
  client.Send("POST /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(client.Read().status, 405);
  client.Send("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(client.Read(/*no_body=*/true).status, 200);
  EXPECT_EQ(client.Get("/healthz").status, 200);
  RawHttpClient garbage(address_);
  garbage.Send("\x16\x03\x01 not http\r\n\r\n");
  EXPECT_EQ(garbage.Read().status, 400);
  keys_ = absl::UnavailableError("closed");
  EXPECT_EQ(client.Get("/keys").status, 503);
}

TEST_F(AdminServerTest, ListThatComesAfterTheStopIsDropped) {
  AdminServer::KeysDone kept;
  Mutex mutex;
  CondVar changed;
  AdminServer::Sources sources;
  sources.list_keys = [&](std::optional<KeyId>, std::size_t, AdminServer::KeysDone done) {
    MutexLock lock(mutex);
    kept = std::move(done);
    changed.NotifyAll();
  };
  auto server = std::make_unique<AdminServer>("127.0.0.1:0", std::move(sources), metrics_);
  RawHttpClient client(*server->Start());
  client.Send("GET /keys HTTP/1.1\r\nHost: a\r\n\r\n");
  {
    MutexLock lock(mutex);
    ASSERT_TRUE(changed.WaitFor(mutex, std::chrono::seconds(10), [&] { return kept != nullptr; }));
  }
  server.reset();
  kept(std::vector<KeyRow>());
  kept = nullptr;
  EXPECT_TRUE(client.ReadsEnd());
}

}  // namespace
}  // namespace bulla
