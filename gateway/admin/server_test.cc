#include "gateway/admin/server.h"

#include <atomic>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <thread>
#include <vector>

#include <boost/json/parse.hpp>

#include "gateway/admin/limits.h"
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
    sources.not_ready_to_sign_because = [] { return std::vector<std::string>(); };
    sources.status_json = [] { return std::string(R"({"enclaves":2})"); };
    sources.list_keys = [this](std::optional<KeyId> after, std::size_t limit,
                               AdminServer::KeysDone done) {
      after_ = after;
      limit_ = limit;
      // From another thread, as the store answers.
      std::thread([this, done = std::move(done)] { done(keys_); }).join();
    };
    sources.enclaves_json = [] { return std::string(R"({"enclaves":[]})"); };
    sources.change_enclave = [this](const EnclaveChange& change) {
      changes_.push_back(change);
      return change_outcome_;
    };
    char name[] = "/tmp/bulla-admin-XXXXXX";
    dir_ = ::mkdtemp(name);
    socket_ = dir_ + "/admin.sock";
    server_ = std::make_unique<AdminServer>(
        AdminServer::Options{.listen = "127.0.0.1:0", .socket = socket_}, std::move(sources),
        metrics_);
    absl::StatusOr<std::string> address = server_->Start();
    ASSERT_TRUE(address.ok()) << address.status();
    address_ = *address;
  }

  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(dir_);
  }

  // What the answer is to a change of the enclaves, over the Unix socket unless told otherwise.
  RawHttpAnswer Change(const std::string& method, const std::string& body) {
    return Change(method, body, socket_);
  }
  static RawHttpAnswer Change(const std::string& method, const std::string& body,
                              const std::string& address) {
    RawHttpClient client(address);
    client.Send(method +
                " /enclaves HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return client.Read();
  }

  // Written before the request that makes the server's thread read them.
  std::vector<std::string> reasons_;
  absl::StatusOr<std::vector<KeyRow>> keys_ = std::vector<KeyRow>();
  std::optional<KeyId> after_;
  std::size_t limit_ = 0;
  absl::Status change_outcome_;
  std::vector<EnclaveChange> changes_;

  Metrics metrics_;
  std::string dir_;
  std::string socket_;
  std::unique_ptr<AdminServer> server_;
  std::string address_;
};

TEST_F(AdminServerTest, HealthIsAliveAndReadinessGivesItsReasons) {
  RawHttpClient client(address_);
  EXPECT_EQ(client.Get("/healthz").status, 200);
  EXPECT_EQ(client.Get("/readyz").body, R"({"ready":true,"reasons":[]})");
  reasons_ = {"no enclave", "say \"hello\""};
  EXPECT_EQ(client.Get("/readyz/sign").body, R"({"ready":true,"reasons":[]})");
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
  client.Send("POST /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(client.Read().status, 405);
  client.Send("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(client.Read(/*no_body=*/true).status, 200);
  EXPECT_EQ(client.Get("/healthz").status, 200);
  RawHttpClient garbage(address_);
  garbage.Send("\x16\x03\x01 not http\r\n\r\n");
  EXPECT_EQ(garbage.Read().status, 400);
  keys_ = absl::UnavailableError("closed");
  EXPECT_EQ(client.Get("/keys").status, 503);
}

TEST_F(AdminServerTest, EnclavesAreListedAddedWeighedAndRemoved) {
  EXPECT_EQ(RawHttpClient(address_).Get("/enclaves").body, R"({"enclaves":[]})");
  RawHttpAnswer added = Change("POST", R"({"address":"unix:/x","weight":50})");
  EXPECT_EQ(added.status, 200) << added.body;
  EXPECT_THAT(added.body, HasSubstr(R"({"address":"unix:/x","change":"added","weight":50,)"));
  EXPECT_THAT(added.body, HasSubstr(R"("lasts":"until the gateway restarts)"));
  EXPECT_EQ(Change("PATCH", R"({"address":"unix:/x","weight":0})").status, 200);
  EXPECT_THAT(Change("DELETE", R"({"address":"unix:/x"})").body, HasSubstr(R"("removed")"));
  ASSERT_EQ(changes_.size(), 3u);
  EXPECT_EQ(changes_[0].kind, EnclaveChange::Kind::kAdd);
  EXPECT_EQ(changes_[0].address.ToString(), "unix:/x");
  EXPECT_EQ(changes_[0].weight, 50u);
  EXPECT_EQ(changes_[1].kind, EnclaveChange::Kind::kSetWeight);
  EXPECT_EQ(changes_[1].weight, 0u);
  EXPECT_EQ(changes_[2].kind, EnclaveChange::Kind::kRemove);
}

TEST_F(AdminServerTest, ARefusedChangeOfTheEnclavesHasTheStatusOfItsReason) {
  const std::pair<absl::Status, int> cases[] = {
      {absl::NotFoundError("say \"a\""), 404},  {absl::AlreadyExistsError("b"), 409},
      {absl::ResourceExhaustedError("c"), 409}, {absl::FailedPreconditionError("e"), 409},
      {absl::InvalidArgumentError("d"), 400},   {absl::CancelledError("e"), 503}};
  for (const auto& [outcome, status] : cases) {
    change_outcome_ = outcome;
    RawHttpAnswer answer = Change("POST", R"({"address":"unix:/x"})");
    EXPECT_EQ(answer.status, status) << answer.body;
    boost::json::value error = boost::json::parse(answer.body).at("error");
    EXPECT_EQ(std::string(error.at("code").as_string()), absl::StatusCodeToString(outcome.code()));
    EXPECT_EQ(std::string(error.at("message").as_string()), std::string(outcome.message()));
  }
}

TEST_F(AdminServerTest, AChangeThatIsNotUnderstoodIsNotMade) {
  RawHttpAnswer unknown = Change("DELETE", R"({"address":"unix:/x","force":true})");
  EXPECT_EQ(unknown.status, 400);
  EXPECT_THAT(unknown.body, HasSubstr("'force': unknown"));
  EXPECT_EQ(Change("PUT", R"({"address":"unix:/x"})").status, 405);
  EXPECT_EQ(Change("GET", R"({"address":"unix:/x"})").status, 400);
  EXPECT_TRUE(changes_.empty());
}

TEST_F(AdminServerTest, ABodyIsTakenUpToItsLimit) {
  const std::string body = R"({"address":"unix:/x"})";
  const std::string padding(limits::kAdminBodyBytesMax - body.size(), ' ');
  EXPECT_EQ(Change("POST", body + padding).status, 200);
  EXPECT_EQ(Change("POST", body + padding + " ").status, 413);
  EXPECT_EQ(changes_.size(), 1u);
}

TEST_F(AdminServerTest, OverTcpNothingIsChangedAndTheAnswerSaysWhereItIs) {
  for (const char* method : {"POST", "PATCH", "DELETE"}) {
    RawHttpAnswer answer = Change(method, R"({"address":"unix:/x","weight":1})", address_);
    EXPECT_EQ(answer.status, 403) << method;
    EXPECT_THAT(answer.body, HasSubstr("--admin-socket " + socket_));
  }
  EXPECT_TRUE(changes_.empty());
  EXPECT_EQ(RawHttpClient(address_).Get("/enclaves").status, 200);
  EXPECT_EQ(RawHttpClient(socket_).Get("/readyz").status, 200);
}

TEST_F(AdminServerTest, WithoutASocketNothingIsChangedAndTheAnswerSaysWhereToAskForOne) {
  AdminServer server({.listen = "127.0.0.1:0", .socket = {}}, {}, metrics_);
  absl::StatusOr<std::string> address = server.Start();
  ASSERT_TRUE(address.ok()) << address.status();
  RawHttpAnswer answer = Change("POST", R"({"address":"unix:/x"})", *address);
  EXPECT_EQ(answer.status, 403);
  EXPECT_THAT(answer.body, HasSubstr("set admin.socket"));
}

TEST_F(AdminServerTest, TheSocketIsForItsOwnerAndGoesWithTheServer) {
  struct stat info {};
  ASSERT_EQ(::stat(socket_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  server_->Stop();
  EXPECT_FALSE(std::filesystem::exists(socket_));
}

TEST_F(AdminServerTest, IdleConnectionsKeepNobodyOut) {
  std::vector<std::unique_ptr<RawHttpClient>> idle;
  for (std::size_t i = 0; i < limits::kAdminConnectionsMax + 20; ++i) {
    idle.push_back(std::make_unique<RawHttpClient>(address_));
  }
  EXPECT_EQ(RawHttpClient(address_).Get("/healthz").status, 200);
  EXPECT_EQ(RawHttpClient(address_).Get("/metrics").status, 200);
  EXPECT_TRUE(idle.front()->ReadsEnd()) << "the one that was idle longest made room";
  EXPECT_EQ(idle.back()->Get("/readyz").status, 200) << "the newest is still there";
}

// Connections that wait for the store, which does not answer.
TEST_F(AdminServerTest, WhileAllAreAtWorkProbesAreAnsweredAndNothingElse) {
  std::vector<AdminServer::KeysDone> held;  // the server's thread's, until it has stopped
  std::atomic<std::size_t> asked{0};
  AdminServer::Sources sources;
  sources.not_ready_because = [] { return std::vector<std::string>(); };
  sources.list_keys = [&](std::optional<KeyId>, std::size_t, AdminServer::KeysDone done) {
    held.push_back(std::move(done));
    ++asked;
  };
  AdminServer server({.listen = "127.0.0.1:0", .socket = {}}, std::move(sources), metrics_);
  const std::string address = *server.Start();
  std::vector<std::unique_ptr<RawHttpClient>> busy;
  for (std::size_t i = 0; i < limits::kAdminConnectionsMax; ++i) {
    busy.push_back(std::make_unique<RawHttpClient>(address));
    busy.back()->Send("GET /keys HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  while (asked < busy.size()) std::this_thread::yield();
  EXPECT_EQ(RawHttpClient(address).Get("/metrics").status, 503);
  for (std::size_t i = 0; i < 2 * limits::kAdminProbesMax; ++i) {
    RawHttpClient probe(address);
    EXPECT_EQ(probe.Get(i % 2 == 0 ? "/healthz" : "/readyz").status, 200) << i;
    EXPECT_TRUE(probe.ReadsEnd());
  }
  server.Stop();
  held.clear();
}

TEST_F(AdminServerTest, ASocketThatCannotBeIsSaidAtTheStart) {
  AdminServer taken({.listen = "127.0.0.1:0", .socket = socket_}, {}, metrics_);
  EXPECT_EQ(taken.Start().status().code(), absl::StatusCode::kAlreadyExists);
  AdminServer long_path({.listen = "127.0.0.1:0", .socket = "/" + std::string(107, 'x')}, {},
                        metrics_);
  const absl::Status status = long_path.Start().status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 107 fit"));
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
  auto server = std::make_unique<AdminServer>(
      AdminServer::Options{.listen = "127.0.0.1:0", .socket = {}}, std::move(sources), metrics_);
  RawHttpClient client(*server->Start());
  client.Send("GET /keys HTTP/1.1\r\nHost: localhost\r\n\r\n");
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
