#include "bench/load/load.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <sys/eventfd.h>
#include <thread>

#include <poll.h>

#include "tests/fakes/loopback_listener.h"

namespace bulla {
namespace {

// A service that answers request n with whatever a test says; an empty answer closes the
// connection. One thread, on a port of the kernel's choice.
class FakeService {
 public:
  using Answer = std::function<std::string(int n)>;

  explicit FakeService(Answer answer) : answer_(std::move(answer)) {
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeService() {
    EXPECT_EQ(::eventfd_write(stop_.get(), 1), 0);
    thread_.join();
  }

  std::string url() const { return listener_.url(); }

 private:
  struct Caller {
    UniqueFd fd;
    std::string in;
  };

  void Serve() {
    while (true) {
      std::vector<pollfd> watched{{stop_.get(), POLLIN, 0}, {listener_.fd.get(), POLLIN, 0}};
      for (const auto& [fd, caller] : callers_) watched.push_back({fd, POLLIN, 0});
      ASSERT_GT(::poll(watched.data(), watched.size(), -1), 0);
      if (watched[0].revents != 0) return;
      if (watched[1].revents != 0) {
        UniqueFd fd(::accept(listener_.fd.get(), nullptr, nullptr));
        int number = fd.get();
        callers_[number].fd = std::move(fd);
      }
      for (std::size_t i = 2; i < watched.size(); ++i) {
        if (watched[i].revents != 0 && !ServeOne(callers_[watched[i].fd])) {
          callers_.erase(watched[i].fd);
        }
      }
    }
  }

  // False: the connection ends.
  bool ServeOne(Caller& caller) {
    char bytes[4096];
    ssize_t count = ::recv(caller.fd.get(), bytes, sizeof bytes, 0);
    if (count <= 0) return false;
    caller.in.append(bytes, static_cast<std::size_t>(count));
    if (!caller.in.ends_with("\"}")) return true;
    EXPECT_TRUE(caller.in.starts_with("POST /sign HTTP/1.1\r\nHost: 127.0.0.1:")) << caller.in;
    caller.in.clear();
    std::string answer = answer_(requests_++);
    return ::send(caller.fd.get(), answer.data(), answer.size(), MSG_NOSIGNAL) > 0;
  }

  const Answer answer_;
  LoopbackListener listener_;
  UniqueFd stop_{::eventfd(0, 0)};
  std::map<int, Caller> callers_;  // the service's thread alone, as is the next
  int requests_ = 0;
  std::thread thread_;
};

std::string Http(std::string_view status, std::string_view body, std::string_view fields = "") {
  return fmt::format("HTTP/1.1 {}\r\n{}Content-Length: {}\r\n\r\n{}", status, fields, body.size(),
                     body);
}

std::string Signed() {
  return Http("200 OK", R"({"signature":"0x)" + std::string(128, '1') + R"(","recoveryId":0})");
}

// 100 measured requests, behind 20 of warm-up, over four connections.
absl::StatusOr<LoadResult> RunLoad(const FakeService& service) {
  absl::StatusOr<Target> target = ResolveBlocking(service.url());
  if (!target.ok()) return target.status();
  LoadPlan plan{.schedule = {.rate_per_s = 1000,
                             .warm_up = std::chrono::milliseconds(20),
                             .measured = std::chrono::milliseconds(100),
                             .requests_max = 1000},
                .traffic = {.connections = 4},
                .keys = {{.id = std::string(36, 'a')}, {.id = std::string(36, 'b')}}};
  RealClock clock;
  return RunLoadBlocking(plan, *target, clock, [](const LoadProgress&) {});
}

std::size_t Answers(const LoadResult& result) {
  std::size_t answers = 0;
  for (const auto& piece : result.answers.pieces()) answers += piece.size();
  return answers;
}

void ExpectAllAccountedFor(const LoadResult& result) {
  EXPECT_EQ(result.warm_up_requests, 20u);
  EXPECT_EQ(result.requests, 100u);
  EXPECT_EQ(result.latency.count() + result.failed + result.malformed + result.dropped, 100u);
}

TEST(Load, SendsWhatIsDueAndKeepsEveryAnswer) {
  FakeService service([](int) { return Signed(); });
  absl::StatusOr<LoadResult> result = RunLoad(service);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectAllAccountedFor(*result);
  EXPECT_EQ(result->latency.count(), 100u);
  EXPECT_EQ(result->lag.count(), 100u);
  EXPECT_EQ(Answers(*result), 120u);
  EXPECT_EQ(result->reconnects, 0u);
  EXPECT_EQ(result->first_error, "");
}

TEST(Load, CountsErrorsByStatusAndKeepsTheirLatencyOutOfTheFigures) {
  FakeService service([](int n) {
    return n % 2 == 0 ? Signed() : Http("503 Service Unavailable", R"({"error":"later"})");
  });
  absl::StatusOr<LoadResult> result = RunLoad(service);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectAllAccountedFor(*result);
  EXPECT_EQ(result->failed + result->warm_up_failed, 60u);
  EXPECT_EQ(result->errors["HTTP 503"], result->failed);
  EXPECT_EQ(Answers(*result), 60u);
  EXPECT_EQ(result->first_error, R"({"error":"later"})");
}

TEST(Load, ARequestLostWithItsConnectionIsDroppedAndTheConnectionReplaced) {
  FakeService service([](int n) { return n == 60 ? std::string() : Signed(); });
  absl::StatusOr<LoadResult> result = RunLoad(service);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectAllAccountedFor(*result);
  EXPECT_EQ(result->dropped, 1u);
  EXPECT_EQ(result->latency.count(), 99u);
  EXPECT_NE(result->first_error.find("a connection was lost"), std::string::npos);
}

TEST(Load, GoesOnWhenEveryConnectionIsLost) {
  FakeService service([](int n) { return n < 4 ? std::string() : Signed(); });
  absl::StatusOr<LoadResult> result = RunLoad(service);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectAllAccountedFor(*result);
  EXPECT_EQ(result->warm_up_failed + result->dropped, 4u);
  EXPECT_EQ(result->reconnects, 4u);
  EXPECT_EQ(Answers(*result), 116u);
}

TEST(Load, AnAnswerThatSaysCloseIsCountedAndItsConnectionReplaced) {
  FakeService service([](int n) {
    return n == 0 ? Http("429 Too Many Requests", "{}", "Connection: close\r\n") : Signed();
  });
  absl::StatusOr<LoadResult> result = RunLoad(service);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectAllAccountedFor(*result);
  EXPECT_EQ(result->warm_up_failed, 1u);
  EXPECT_EQ(result->latency.count(), 100u);
}

TEST(Load, WhatIsNoAnswerIsMalformed) {
  for (const std::string& answer :
       {std::string("SSH-2.0\r\n\r\n"), Http("200 OK", "{}"), Signed() + Signed()}) {
    FakeService service([&](int n) { return n == 60 ? answer : Signed(); });
    absl::StatusOr<LoadResult> result = RunLoad(service);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectAllAccountedFor(*result);
    EXPECT_EQ(result->malformed, 1u);
    EXPECT_EQ(result->dropped, 0u);
  }
}

TEST(Target, OnlyUrlsOfAServiceAreTaken) {
  for (const char* good :
       {"http://127.0.0.1:80", "127.0.0.1:80/", "http://[::1]:8080", "127.0.0.1"}) {
    EXPECT_TRUE(ResolveBlocking(good).ok()) << good;
  }
  EXPECT_EQ(ResolveBlocking("http://127.0.0.1:80/signer/")->path, "/signer");
  for (const char* bad : {"", "http://", "https://127.0.0.1:80", ":80", "127.0.0.1:0"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ResolveBlocking(bad).status())) << bad;
  }
}

TEST(Target, OfAllAddressesOfANameTheOneThatAnswersIsTaken) {
  FakeService service([](int) { return Signed(); });  // on 127.0.0.1; localhost is ::1 as well
  std::string url = service.url();
  url.replace(url.find("127.0.0.1"), 9, "localhost");
  absl::StatusOr<Target> target = ResolveBlocking(url);
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_TRUE(ConnectBlocking(*target).ok());
}

}  // namespace
}  // namespace bulla
