// The load over gRPC, against services that answer as a test says.

#include <atomic>
#include <functional>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <memory>
#include <sstream>

#include <grpcpp/security/server_credentials.h>

#include "bench/load/key_maker.h"
#include "bench/load/load.h"
#include "bulla/v1/signer.grpc.pb.h"

namespace bulla {
namespace {

using grpc::ServerContext;
using grpc::Status;
using grpc::StatusCode;

v1::SignResponse Signed() {
  v1::SignResponse response;
  response.set_signature(std::string(64, 's'));
  return response;
}

// An error as the service gives it: with details.
Status Refused() { return {StatusCode::RESOURCE_EXHAUSTED, "RETRY_LATER: full", "details"}; }

// Answers request n, counted over all calls. A port of the kernel's choice.
class FakeService final : public v1::Signer::Service {
 public:
  std::function<Status(int n, v1::SignResponse& response)> sign = [](int, v1::SignResponse& out) {
    out = Signed();
    return Status::OK;
  };
  std::function<void(int n, v1::SignStreamResult& result)> item =
      [](int, v1::SignStreamResult& out) { *out.mutable_ok() = Signed(); };
  // Whether the stream goes on behind message n.
  std::function<bool(int n)> goes_on = [](int) { return true; };

  FakeService() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    target_ = *ResolveBlocking("127.0.0.1:" + std::to_string(port));
  }

  const Target& target() const { return target_; }
  int requests() const { return requests_; }

 private:
  Status Create(ServerContext*, const v1::CreateRequest*, v1::CreateResponse* response) override {
    int n = ++keys_;
    if (n > 3) return {StatusCode::UNAVAILABLE, "UNAVAILABLE: no enclave"};
    response->set_key_id(std::string(36, static_cast<char>('a' + n)));
    response->set_public_key(std::string(33, '\2'));
    return Status::OK;
  }

  Status Sign(ServerContext*, const v1::SignRequest* request, v1::SignResponse* response) override {
    EXPECT_EQ(request->key_id().size(), 36u);
    EXPECT_EQ(request->digest().size(), 32u);
    return sign(requests_++, *response);
  }

  Status SignStream(
      ServerContext*,
      grpc::ServerReaderWriter<v1::SignStreamResponse, v1::SignStreamRequest>* stream) override {
    v1::SignStreamRequest request;
    while (stream->Read(&request)) {
      if (!goes_on(messages_++)) return {StatusCode::INTERNAL, "INTERNAL: the end", "details"};
      // The answers come backwards, in two messages.
      v1::SignStreamResponse first;
      v1::SignStreamResponse second;
      for (int i = request.items_size(); i-- > 0;) {
        const v1::SignStreamItem& asked = request.items(i);
        EXPECT_EQ(asked.key_id().size(), 36u);
        EXPECT_EQ(asked.digest().size(), 32u);
        v1::SignStreamResult& result = *(i % 2 == 0 ? first : second).add_results();
        result.set_ref(asked.ref());
        item(requests_++, result);
      }
      stream->Write(first);
      stream->Write(second);
    }
    return Status::OK;
  }

  std::atomic<int> keys_{0};
  std::atomic<int> requests_{0};
  std::atomic<int> messages_{0};
  std::unique_ptr<grpc::Server> server_;
  Target target_;
};

// 100 measured requests, behind 20 of warm-up, open loop.
absl::StatusOr<LoadResult> RunLoad(const FakeService& service, const Traffic& traffic,
                                   double rate_per_s = 1000) {
  LoadPlan plan{.schedule = {.rate_per_s = rate_per_s,
                             .warm_up = std::chrono::milliseconds(20),
                             .measured = std::chrono::milliseconds(100),
                             .requests_max = 1000},
                .traffic = traffic,
                .keys = {{.id = std::string(36, 'a')}, {.id = std::string(36, 'b')}}};
  RealClock clock;
  return RunLoadBlocking(plan, service.target(), clock, [](const LoadProgress&) {});
}

constexpr Traffic kUnary{.protocol = Protocol::kGrpc, .connections = 4};
constexpr Traffic kStreams{
    .protocol = Protocol::kStream, .connections = 2, .batch = 8, .streams = 2, .messages = 3};

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

class GrpcLoad : public testing::TestWithParam<Traffic> {};
INSTANTIATE_TEST_SUITE_P(Both, GrpcLoad, testing::Values(kUnary, kStreams),
                         [](const testing::TestParamInfo<Traffic>& traffic) {
                           return std::string(NameOf(traffic.param.protocol));
                         });

TEST_P(GrpcLoad, SendsWhatIsDueAndKeepsEveryAnswer) {
  FakeService service;
  absl::StatusOr<LoadResult> result = RunLoad(service, GetParam());
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectAllAccountedFor(*result);
  EXPECT_EQ(service.requests(), 120);
  EXPECT_EQ(result->latency.count(), 100u);
  EXPECT_EQ(Answers(*result), 120u);
  EXPECT_EQ(result->reconnects, 0u);
  EXPECT_EQ(result->first_error, "");
}

TEST_P(GrpcLoad, AClosedLoopCountsWhatItSent) {
  FakeService service;
  absl::StatusOr<LoadResult> result = RunLoad(service, GetParam(), 0);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->latency.count(), result->requests);
  EXPECT_EQ(result->requests + result->warm_up_requests, static_cast<unsigned>(service.requests()));
  EXPECT_EQ(Answers(*result), static_cast<unsigned>(service.requests()));
}

TEST_P(GrpcLoad, CountsErrorsByTheirNameInTheTable) {
  FakeService service;
  service.sign = [](int n, v1::SignResponse& response) {
    response = Signed();
    return n % 2 == 0 ? Status::OK : Refused();
  };
  service.item = [](int n, v1::SignStreamResult& result) {
    if (n % 2 == 0) {
      *result.mutable_ok() = Signed();
    } else {
      result.mutable_error()->set_code("RETRY_LATER");
    }
  };
  absl::StatusOr<LoadResult> result = RunLoad(service, GetParam());
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectAllAccountedFor(*result);
  EXPECT_EQ(result->failed + result->warm_up_failed, 60u);
  EXPECT_EQ(result->errors["RETRY_LATER"], result->failed);
  EXPECT_EQ(Answers(*result), 60u);
}

TEST_P(GrpcLoad, AnAnswerThatIsNoSignatureIsMalformed) {
  FakeService service;
  service.sign = [](int n, v1::SignResponse& response) {
    response = Signed();
    if (n == 60) response.set_signature("short");
    if (n == 70) response.set_recovery_id(4);
    return Status::OK;
  };
  service.item = [](int n, v1::SignStreamResult& result) {
    if (n == 60) return;  // neither a signature nor an error
    *result.mutable_ok() = Signed();
    if (n == 70) result.mutable_ok()->set_recovery_id(4);
  };
  absl::StatusOr<LoadResult> result = RunLoad(service, GetParam());
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectAllAccountedFor(*result);
  EXPECT_EQ(result->malformed, 2u);
}

TEST(GrpcUnaryLoad, AnErrorThatTheServiceDoesNotExplainIsALostConnection) {
  FakeService service;
  service.sign = [](int n, v1::SignResponse& response) {
    response = Signed();
    return n == 60 ? Status(StatusCode::UNAVAILABLE, "Socket closed") : Status::OK;
  };
  absl::StatusOr<LoadResult> result = RunLoad(service, kUnary);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectAllAccountedFor(*result);
  EXPECT_EQ(result->dropped, 1u);
  EXPECT_NE(result->first_error.find("Socket closed"), std::string::npos);
}

TEST(GrpcStreamLoad, AStreamThatEndsTakesItsItemsWithItAndIsReplaced) {
  FakeService service;
  service.goes_on = [](int n) { return n != 2; };
  absl::StatusOr<LoadResult> result = RunLoad(service, kStreams);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectAllAccountedFor(*result);
  EXPECT_GE(result->dropped + result->warm_up_failed, 1u);
  EXPECT_EQ(result->failed + result->malformed, 0u);
}

TEST(GrpcStreamLoad, WhatIsDueByNowGoesTogether) {
  FakeService service;
  Traffic traffic = kStreams;
  traffic.batch = 1000;
  absl::StatusOr<LoadResult> result = RunLoad(service, traffic, 1e6);  // all at once, nearly
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->latency.count() + result->warm_up_requests, 1000u);
  EXPECT_LT(result->messages, 1000u);
}

TEST(GrpcLoadTarget, NobodyThereIsUnavailable) {
  // A port that was ours a moment ago.
  Target target;
  {
    FakeService service;
    target = service.target();
  }
  RealClock clock;
  std::ostringstream said;
  EXPECT_TRUE(
      absl::IsUnavailable(MakeKeysBlocking(target, Protocol::kGrpc, 1, clock, said).status()));
}

TEST(GrpcKeyMaker, MakesKeysAndSaysWhyNot) {
  RealClock clock;
  std::ostringstream said;
  FakeService service;
  absl::StatusOr<std::vector<BenchKey>> keys =
      MakeKeysBlocking(service.target(), Protocol::kGrpc, 3, clock, said);
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ((*keys)[2].id, std::string(36, 'd'));
  EXPECT_EQ((*keys)[2].public_key[0], 2);
  absl::Status refused =
      MakeKeysBlocking(service.target(), Protocol::kGrpc, 1, clock, said).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_NE(refused.message().find("no enclave"), absl::string_view::npos);
}

}  // namespace
}  // namespace bulla
