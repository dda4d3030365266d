#include "gateway/grpc/server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <memory>
#include <set>
#include <string>
#include <sys/socket.h>
#include <sys/time.h>
#include <thread>
#include <vector>

#include <grpcpp/generic/generic_stub.h>

#include "base/fd.h"
#include "base/host_port.h"
#include "bulla/v1/signer.grpc.pb.h"
#include "gateway/access/admission_filter.h"
#include "gateway/frontend/call_rules.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "tests/fakes/front_end_test.h"
#include "wire/address.h"

namespace bulla {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class GrpcServerTest : public FrontEndTest<GrpcServer> {
 protected:
  void SetUp() override {
    StartServer();
    // A channel of its own per test: channels are otherwise shared by address within the process.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    channel_ = grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::Signer::NewStub(channel_);
  }

  // Ten seconds, so that a server that never answers is a failed test and not a hanging one.
  static void BePatient(grpc::ClientContext& context) {
    context.set_deadline(RealClock().WallNow() + std::chrono::seconds(10));
  }

  static Digest32 Digest(std::uint8_t number) {
    Digest32 digest;
    digest.fill(number);
    return digest;
  }
  static std::string Text(ByteSpan bytes) { return std::string(AsText(bytes)); }

  v1::SignRequest GoodRequest() const {
    v1::SignRequest request;
    request.set_key_id(key_id_.ToString());
    request.set_digest(Text(Digest(3)));
    return request;
  }
  v1::SignStreamItem GoodItem(std::uint64_t ref) const {
    v1::SignStreamItem item;
    item.set_ref(ref);
    item.set_key_id(key_id_.ToString());
    item.set_digest(Text(Digest(static_cast<std::uint8_t>(ref))));
    return item;
  }
  std::string ExpectedSignature(const Digest32& digest) const {
    return Text(FakeSignerService::SignatureOf(key_id_, digest).rs);
  }

  using Stub = v1::Signer::Stub;
  static grpc::Status Sign(Stub& stub, const v1::SignRequest& request,
                           v1::SignResponse* response = nullptr) {
    grpc::ClientContext context;
    BePatient(context);
    v1::SignResponse ignored;
    return stub.Sign(&context, request, response ? response : &ignored);
  }
  grpc::Status Sign(const v1::SignRequest& request, v1::SignResponse* response = nullptr) {
    return Sign(*stub_, request, response);
  }
  static grpc::Status Create(Stub& stub, const v1::CreateRequest& request = {},
                             v1::CreateResponse* response = nullptr) {
    grpc::ClientContext context;
    BePatient(context);
    v1::CreateResponse ignored;
    return stub.Create(&context, request, response ? response : &ignored);
  }
  static grpc::Status GetKey(Stub& stub, const std::string& key_id,
                             v1::GetKeyResponse* response = nullptr) {
    grpc::ClientContext context;
    BePatient(context);
    v1::GetKeyRequest request;
    request.set_key_id(key_id);
    v1::GetKeyResponse ignored;
    return stub.GetKey(&context, request, response ? response : &ignored);
  }
  // A call without its generated code. Returns the response's bytes; empty when it fails.
  std::string CallByName(const std::string& method, const std::string& request_bytes) {
    grpc::ClientContext context;
    BePatient(context);
    grpc::Slice slice(request_bytes);
    grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::CompletionQueue done;
    grpc::Status status;
    auto rpc = grpc::GenericStub(channel_).PrepareUnaryCall(&context, method, request, &done);
    rpc->StartCall();
    rpc->Finish(&response, &status, nullptr);
    void* tag;
    bool ok;
    done.Next(&tag, &ok);
    grpc::Slice out;
    if (!status.ok() || !response.DumpToSingleSlice(&out).ok()) return {};
    return {reinterpret_cast<const char*>(out.begin()), out.size()};
  }
  void ExpectStillServes() {
    v1::SignResponse response;
    grpc::Status status = Sign(GoodRequest(), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.signature(), ExpectedSignature(Digest(3)));
  }
  // The status is an error of the table, with its name in message and details.
  static void ExpectError(const grpc::Status& status, ErrorCode code,
                          std::string_view message_part) {
    const ErrorRow& row = ErrorRowOf(code);
    EXPECT_EQ(static_cast<int>(status.error_code()), row.grpc_status) << status.error_message();
    EXPECT_THAT(status.error_message(), StartsWith(std::string(row.name) + ": "));
    EXPECT_THAT(status.error_message(), HasSubstr(std::string(message_part)));
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(status.error_details()));
    EXPECT_EQ(details.code(), row.grpc_status);
    EXPECT_EQ(details.message(), status.error_message());
    google::rpc::ErrorInfo info;
    ASSERT_TRUE(details.details_size() > 0 && details.details(0).UnpackTo(&info));
    EXPECT_EQ(info.reason(), std::string(row.name));
    EXPECT_EQ(info.domain(), "bulla");
    google::rpc::RetryInfo retry;
    bool has_retry = details.details_size() > 1 && details.details(1).UnpackTo(&retry);
    EXPECT_EQ(has_retry, row.retryable);
    if (has_retry) {
      EXPECT_LT(retry.retry_delay().nanos(), 1'000'000'000);
      EXPECT_GE(retry.retry_delay().seconds() * 1000 + retry.retry_delay().nanos() / 1'000'000, 50);
    }
  }

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Signer::Stub> stub_;
};

TEST_F(GrpcServerTest, ATakenPortIsSaidWithItsErrno) {
  GrpcServer second({.listen = address_}, *chain_, clients_, metrics_, clock_);
  absl::Status status = second.Start().status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(address_), HasSubstr("(EADDRINUSE)"), HasSubstr("next: ")));
}

TEST_F(GrpcServerTest, EveryIpv4AddressIsNoIpv6Address) {
  GrpcServer second({.listen = "0.0.0.0:0"}, *chain_, clients_, metrics_, clock_);
  const std::string address = *second.Start();
  ASSERT_THAT(address, StartsWith("0.0.0.0:"));
  const std::string port = address.substr(address.rfind(':'));
  const std::chrono::seconds patience(5);
  EXPECT_TRUE(DialBlocking(*Address::Parse("tcp:127.0.0.1" + port), patience).ok());
  EXPECT_FALSE(DialBlocking(*Address::Parse("tcp:[::1]" + port), patience).ok());
}

TEST_F(GrpcServerTest, ANameIsNotListenedOn) {
  GrpcServer second({.listen = "bulla.example:0"}, *chain_, clients_, metrics_, clock_);
  EXPECT_TRUE(absl::IsInvalidArgument(second.Start().status()));
}

TEST_F(GrpcServerTest, WhatCannotBeAnsweredByItsDeadlineIsRefusedAtOnce) {
  admission_->OnAnswered(std::chrono::seconds(20));
  MonotonicTime now = clock_.Now();
  admission_->Tick(now, {});
  ExpectError(Sign(GoodRequest()), ErrorCode::kRetryLater, "");
  for (int i = 0; i < 10; ++i) admission_->Tick(now += Admission::kTick, {});
  ExpectStillServes();
}

TEST_F(GrpcServerTest, WhatIsLetInIsReleasedWhateverBecomesOfIt) {
  ExpectStillServes();
  service_.SetOutcome(key_id_, ErrorCode::kInternal);
  EXPECT_FALSE(Sign(GoodRequest()).ok());
  grpc::ClientContext context;
  BePatient(context);
  auto stream = stub_->SignStream(&context);
  v1::SignStreamRequest request;
  for (std::uint64_t ref = 0; ref < 20; ++ref) *request.add_items() = GoodItem(ref);
  request.mutable_items(3)->set_digest("short");
  stream->Write(request);
  stream->WritesDone();
  v1::SignStreamResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_TRUE(stream->Finish().ok());
  server_->Stop();
  EXPECT_EQ(admission_->in_flight(), 0u);
}

TEST_F(GrpcServerTest, SignAnswersTheSignatureOfTheService) {
  v1::SignResponse response;
  v1::SignRequest request = GoodRequest();
  EXPECT_TRUE(Sign(request, &response).ok());
  EXPECT_EQ(response.signature(), ExpectedSignature(Digest(3)));
  EXPECT_EQ(response.recovery_id(), 1u);
  EXPECT_TRUE(response.der().empty());
  request.set_der(true);
  EXPECT_TRUE(Sign(request, &response).ok());
  EXPECT_THAT(response.der(), StartsWith("\x30"));
}

TEST_F(GrpcServerTest, CreateAndGetKeyAnswerThePublicParts) {
  v1::CreateRequest create;
  create.set_idempotency_key("order-1");
  v1::CreateResponse created;
  ASSERT_TRUE(Create(*stub_, create, &created).ok());
  EXPECT_EQ(created.public_key().size(), 33u);
  EXPECT_EQ(service_.last_create()->idempotency_key, "order-1");

  v1::GetKeyResponse key;
  ASSERT_TRUE(GetKey(*stub_, created.key_id(), &key).ok());
  EXPECT_EQ(key.public_key(), created.public_key());
  EXPECT_EQ(key.address(), created.address());
  EXPECT_EQ(key.created_at(), "2026-01-02T03:04:05.678Z");
  EXPECT_EQ(key.status(), "ENABLED");
}

// A delay of a second or more in nanoseconds is no valid Duration, and three overflow an int.
TEST_F(GrpcServerTest, AnErrorThatTakesLongerHintsAtLonger) {
  for (std::uint32_t wait_ms : {1000u, 30'000u}) {
    service_.SetKeyOutcome({ErrorCode::kUnavailable, "the disk is full", wait_ms});
    grpc::Status status = Create(*stub_);
    EXPECT_EQ(status.error_message(), "UNAVAILABLE: the disk is full");
    google::rpc::Status details;
    google::rpc::RetryInfo retry;
    ASSERT_TRUE(details.ParseFromString(status.error_details()));
    ASSERT_TRUE(details.details_size() > 1 && details.details(1).UnpackTo(&retry));
    EXPECT_GE(retry.retry_delay().seconds(), wait_ms / 1000);
    EXPECT_LE(retry.retry_delay().seconds(), wait_ms * 3 / 2000);
    EXPECT_GE(retry.retry_delay().nanos(), 0);
    EXPECT_LT(retry.retry_delay().nanos(), 1'000'000'000);
  }
}

TEST_F(GrpcServerTest, BadRequestsAreRefusedInTheWordsOfTheTable) {
  for (std::size_t size :
       {std::size_t{0}, std::size_t{31}, std::size_t{33}, std::size_t{1000000}}) {
    v1::SignRequest request = GoodRequest();
    request.set_digest(std::string(size, 'x'));
    ExpectError(Sign(request), ErrorCode::kInvalidArgument,
                fmt::format("digest: got {} bytes, want 32 bytes", size));
  }
  v1::SignRequest request = GoodRequest();
  request.set_key_id("xyz");
  ExpectError(Sign(request), ErrorCode::kInvalidArgument, "keyId: got 'xyz'");
  request.clear_key_id();
  ExpectError(Sign(request), ErrorCode::kInvalidArgument, "keyId: got nothing");
  request.set_key_id("01234567-89ab-7def-8123-456789abcdef");
  ExpectError(Sign(request), ErrorCode::kInvalidKey, "no such key");
  request = GoodRequest();
  request.set_tenant_id("acme");
  ExpectError(Sign(request), ErrorCode::kInvalidArgument, "tenant_id: reserved and disabled");
  request = GoodRequest();
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(9, 1);
  ExpectError(Sign(request), ErrorCode::kInvalidArgument, "field 9: unknown in SignRequest");
  ExpectStillServes();
}

TEST_F(GrpcServerTest, TenantInMetadataAndBadIdempotencyKeyAreRefused) {
  v1::CreateResponse response;
  for (std::string_view name : kTenantNames) {
    grpc::ClientContext tenant;
    BePatient(tenant);
    tenant.AddMetadata(std::string(name), "acme");
    ExpectError(stub_->Create(&tenant, {}, &response), ErrorCode::kInvalidArgument,
                fmt::format("{}: reserved and disabled", name));
  }
  grpc::ClientContext stream_tenant;
  BePatient(stream_tenant);
  stream_tenant.AddMetadata("tenant-id", "acme");
  ExpectError(stub_->SignStream(&stream_tenant)->Finish(), ErrorCode::kInvalidArgument,
              "tenant-id: reserved and disabled");
  for (const std::string& bad :
       {std::string(256, 'a'), std::string("a b"), std::string("\xc3\xa9")}) {
    v1::CreateRequest request;
    request.set_idempotency_key(bad);
    ExpectError(Create(*stub_, request), ErrorCode::kInvalidArgument, "Idempotency-Key: got");
  }
  ExpectStillServes();
}

TEST_F(GrpcServerTest, MessageOverTheLimitIsRefused) {
  v1::SignRequest request = GoodRequest();
  request.set_digest(std::string(limits::kRequestBodyBytesMax + 1, 'x'));
  EXPECT_EQ(Sign(request).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  ExpectStillServes();
}

TEST_F(GrpcServerTest, EveryErrorOfTheServiceHasItsStatus) {
  for (int i = 1; i < kErrorCodeCount; ++i) {
    service_.SetOutcome(key_id_, static_cast<ErrorCode>(i));
    ExpectError(Sign(GoodRequest()), static_cast<ErrorCode>(i), "");
  }
}

TEST_F(GrpcServerTest, RequestIdIsEchoedWhenHarmlessAndReplacedWhenNot) {
  auto echoed = [&](const std::string& sent, bool bad_call) {
    grpc::ClientContext context;
    BePatient(context);
    if (!sent.empty()) context.AddMetadata("x-request-id", sent);
    v1::SignResponse response;
    stub_->Sign(&context, bad_call ? v1::SignRequest() : GoodRequest(), &response);
    auto found = context.GetServerTrailingMetadata().find("x-request-id");
    if (found == context.GetServerTrailingMetadata().end()) return std::string();
    return std::string(found->second.data(), found->second.size());
  };
  EXPECT_EQ(echoed("a.B_9:-", false), "a.B_9:-");
  EXPECT_EQ(echoed("a.B_9:-", true), "a.B_9:-");
  EXPECT_NE(echoed("<script>", false), "<script>");
  EXPECT_FALSE(echoed("<script>", false).empty());
  EXPECT_NE(echoed("", false), echoed("", false));
  grpc::ClientContext twice;
  BePatient(twice);
  for (const char* id : {"<script>", "first", "second"}) twice.AddMetadata("x-request-id", id);
  v1::SignResponse response;
  EXPECT_TRUE(stub_->Sign(&twice, GoodRequest(), &response).ok());
  EXPECT_EQ(twice.GetServerTrailingMetadata().find("x-request-id")->second, "first");
}

TEST_F(GrpcServerTest, CallsForAnotherHostAreRefused) {
  auto status_for = [&](const std::string& authority) {
    grpc::ClientContext context;
    BePatient(context);
    context.set_authority(authority);
    v1::SignResponse response;
    return stub_->Sign(&context, GoodRequest(), &response);
  };
  for (const char* ours : {"localhost:1", "LocalHost.", "127.0.0.1", "[::1]:9090", "10.1.2.3"}) {
    EXPECT_TRUE(status_for(ours).ok()) << ours;
  }
  ExpectError(status_for("evil.example"), ErrorCode::kPermissionDenied,
              ":authority: got 'evil.example'");
  grpc::ClientContext stream;
  BePatient(stream);
  stream.set_authority("evil.example");
  ExpectError(stub_->SignStream(&stream)->Finish(), ErrorCode::kPermissionDenied, "allowed_hosts");
  ExpectStillServes();
}

TEST_F(GrpcServerTest, CallersDeadlineIsCarriedWhenItIsShorter) {
  MonotonicTime before = clock_.Now();
  Sign(GoodRequest());  // ten seconds: the default of one is shorter
  EXPECT_LE(service_.last_deadline(), clock_.Now() + limits::kSignTimeout);
  EXPECT_GE(service_.last_deadline(), before + limits::kSignTimeout);
  grpc::ClientContext context;
  context.set_deadline(RealClock().WallNow() + std::chrono::milliseconds(500));
  v1::SignResponse response;
  stub_->Sign(&context, GoodRequest(), &response);
  EXPECT_LE(service_.last_deadline(), clock_.Now() + std::chrono::milliseconds(600))
      << "rounded up";
}

TEST_F(GrpcServerTest, StreamAnswersEveryItemAndEndsAfterTheHalfClose) {
  grpc::ClientContext context;
  BePatient(context);
  auto stream = stub_->SignStream(&context);
  constexpr std::uint64_t kItems = 5000;
  std::thread writer([&] {
    for (std::uint64_t ref = 0; ref < kItems;) {
      v1::SignStreamRequest request;
      for (int i = 0; i < 100; ++i, ++ref) *request.add_items() = GoodItem(ref);
      EXPECT_TRUE(stream->Write(request));
    }
    stream->WritesDone();
  });
  std::set<std::uint64_t> refs;
  v1::SignStreamResponse response;
  while (stream->Read(&response)) {
    for (const v1::SignStreamResult& result : response.results()) {
      refs.insert(result.ref());
      EXPECT_EQ(result.ok().signature(),
                ExpectedSignature(Digest(static_cast<std::uint8_t>(result.ref()))));
    }
  }
  writer.join();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(refs.size(), kItems);
}

TEST_F(GrpcServerTest, StreamAnswersBadItemsByThemselves) {
  grpc::ClientContext context;
  BePatient(context);
  auto stream = stub_->SignStream(&context);
  v1::SignStreamRequest request;
  *request.add_items() = GoodItem(1);
  *request.add_items() = GoodItem(2);
  request.mutable_items(1)->set_digest("short");
  *request.add_items() = GoodItem(3);
  request.mutable_items(2)->set_key_id("xyz");
  KeyId busy = service_.AddKey(8);
  service_.SetOutcome(busy, ErrorCode::kUnlockRequired);
  *request.add_items() = GoodItem(4);
  request.mutable_items(3)->set_key_id(busy.ToString());
  stream->Write(request);
  stream->WritesDone();
  std::map<std::uint64_t, v1::SignStreamResult> results;
  v1::SignStreamResponse response;
  while (stream->Read(&response)) {
    for (const v1::SignStreamResult& result : response.results()) results[result.ref()] = result;
  }
  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_EQ(results.size(), 4u);
  EXPECT_TRUE(results[1].has_ok());
  EXPECT_THAT(results[2].error().message(), HasSubstr("digest: got 5 bytes, want 32 bytes"));
  EXPECT_EQ(results[3].error().code(), "INVALID_ARGUMENT");
  EXPECT_EQ(results[3].error().retry_after_ms(), 0u);
  EXPECT_EQ(results[4].error().code(), "UNLOCK_REQUIRED");
  EXPECT_GE(results[4].error().retry_after_ms(), 50u);
}

TEST_F(GrpcServerTest, StreamIsNotReadBeyondItsBound) {
  service_.Hold();
  grpc::ClientContext context;
  BePatient(context);
  auto stream = stub_->SignStream(&context);
  std::thread writer([&] {
    for (std::uint64_t n = 0; n < 10; ++n) {
      v1::SignStreamRequest request;
      for (std::uint64_t i = 0; i < limits::kBatchItemsMax; ++i) {
        *request.add_items() = GoodItem(n);
      }
      stream->Write(request);
    }
    stream->WritesDone();
  });
  ASSERT_TRUE(service_.WaitUntilHeld(limits::kStreamItemsUnansweredMax));
  EXPECT_FALSE(
      service_.WaitUntilHeld(limits::kStreamItemsUnansweredMax + 1, std::chrono::milliseconds(300)))
      << "an unbounded stream has the next message read in a tenth of that";
  service_.Release();
  std::size_t results = 0;
  v1::SignStreamResponse response;
  while (stream->Read(&response)) results += static_cast<std::size_t>(response.results_size());
  writer.join();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(results, 10 * limits::kBatchItemsMax);
}

TEST_F(GrpcServerTest, StreamEndsOnAMessageThatBreaksTheContract) {
  v1::SignStreamRequest empty;
  v1::SignStreamRequest long_one;
  for (std::size_t i = 0; i <= limits::kBatchItemsMax; ++i) *long_one.add_items() = GoodItem(i);
  v1::SignStreamRequest unknown;
  *unknown.add_items() = GoodItem(1);
  unknown.GetReflection()->MutableUnknownFields(&unknown)->AddVarint(9, 1);
  for (const v1::SignStreamRequest& bad : {empty, long_one, unknown}) {
    grpc::ClientContext context;
    BePatient(context);
    auto stream = stub_->SignStream(&context);
    v1::SignStreamRequest good;
    *good.add_items() = GoodItem(1);
    stream->Write(good);
    stream->Write(bad);
    v1::SignStreamResponse response;
    int results = 0;
    while (stream->Read(&response)) results += response.results_size();
    EXPECT_EQ(results, 1) << "what came before is answered";
    ExpectError(stream->Finish(), ErrorCode::kInvalidArgument, "");
  }
  ExpectStillServes();
}

TEST_F(GrpcServerTest, CancelledStreamLeavesNothingBehind) {
  service_.Hold();
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    BePatient(context);
    auto stream = stub_->SignStream(&context);
    v1::SignStreamRequest request;
    for (std::uint64_t ref = 0; ref < 50; ++ref) *request.add_items() = GoodItem(ref);
    stream->Write(request);
    ASSERT_TRUE(service_.WaitUntilHeld(50 * static_cast<std::size_t>(i + 1)));
    context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  service_.Release();
  ExpectStillServes();
}

// ---- The standard services -------------------------------------------------------------------

using HealthStatus = grpc::health::v1::HealthCheckResponse;

TEST_F(GrpcServerTest, HealthFollowsTheSwitch) {
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  const auto check = [&](const std::string& service) {
    grpc::ClientContext context;
    BePatient(context);
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    HealthStatus response;
    const grpc::Status status = health->Check(&context, request, &response);
    return std::pair(status.error_code(), response.status());
  };
  for (const char* service : {"", "bulla.v1.Signer"}) {
    EXPECT_EQ(check(service), std::pair(grpc::OK, HealthStatus::NOT_SERVING));
    server_->SetServing(true);
    EXPECT_EQ(check(service), std::pair(grpc::OK, HealthStatus::SERVING));
    server_->SetServing(false);
    EXPECT_EQ(check(service), std::pair(grpc::OK, HealthStatus::NOT_SERVING));
  }
  EXPECT_EQ(check("bulla.v1.Other").first, grpc::NOT_FOUND);
}

TEST_F(GrpcServerTest, WhoWatchesHealthIsToldOfEachChangeUntilTheEnd) {
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  grpc::ClientContext context, other_context;
  BePatient(context);
  BePatient(other_context);
  grpc::health::v1::HealthCheckRequest request;
  const auto watch = health->Watch(&context, request);
  request.set_service("bulla.v1.Other");
  const auto other = health->Watch(&other_context, request);
  HealthStatus response;
  ASSERT_TRUE(other->Read(&response));
  EXPECT_EQ(response.status(), HealthStatus::SERVICE_UNKNOWN);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthStatus::NOT_SERVING);
  for (const bool serving : {true, false, true}) {
    server_->SetServing(serving);
    ASSERT_TRUE(watch->Read(&response));
    EXPECT_EQ(response.status(), serving ? HealthStatus::SERVING : HealthStatus::NOT_SERVING);
  }
  EXPECT_TRUE(server_->Drain(clock_.Now() + std::chrono::seconds(10)));
  while (watch->Read(&response)) {
  }
  EXPECT_EQ(response.status(), HealthStatus::NOT_SERVING);
  EXPECT_EQ(watch->Finish().error_code(), grpc::UNAVAILABLE);
  EXPECT_FALSE(other->Read(&response));
  EXPECT_EQ(other->Finish().error_code(), grpc::UNAVAILABLE);
}

TEST_F(GrpcServerTest, ReflectionAnswersEachRequestOfACallInBothVersions) {
  grpc::reflection::v1::ServerReflectionRequest request;
  request.set_list_services("*");
  const std::string asked = request.SerializeAsString();
  for (const char* version : {"v1", "v1alpha"}) {
    EXPECT_THAT(CallByName("/grpc.reflection." + std::string(version) +
                               ".ServerReflection/ServerReflectionInfo",
                           asked),
                HasSubstr("bulla.v1.Signer"));
  }
  grpc::ClientContext context;
  BePatient(context);
  const auto stream =
      grpc::reflection::v1::ServerReflection::NewStub(channel_)->ServerReflectionInfo(&context);
  constexpr int kRequests = 500;
  std::thread writer([&] {
    for (int i = 0; i < kRequests; ++i) {
      request.set_file_containing_symbol("bulla.v1.Signer");
      EXPECT_TRUE(stream->Write(request));
    }
    stream->WritesDone();
  });
  int answers = 0;
  grpc::reflection::v1::ServerReflectionResponse response;
  while (stream->Read(&response)) {
    answers += response.file_descriptor_response().file_descriptor_proto_size() > 0;
  }
  writer.join();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(answers, kRequests);
}

TEST_F(GrpcServerTest, ACompressedRequestIsUnimplemented) {
  grpc::ClientContext context;
  BePatient(context);
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::SignRequest request = GoodRequest();
  request.set_digest(std::string(10'000, 'x'));  // or the client would not compress it
  v1::SignResponse response;
  EXPECT_EQ(stub_->Sign(&context, request, &response).error_code(), grpc::UNIMPLEMENTED);
  ExpectStillServes();
}

// ---- The end ---------------------------------------------------------------------------------

TEST_F(GrpcServerTest, DrainAnswersWhatWasAccepted) {
  service_.Hold();
  constexpr int kCallers = 10;
  std::vector<std::thread> callers;
  std::atomic<int> good = 0;
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([&] {
      v1::SignResponse response;
      if (Sign(GoodRequest(), &response).ok()) ++good;
    });
  }
  grpc::ClientContext context;
  BePatient(context);
  auto stream = stub_->SignStream(&context);
  v1::SignStreamRequest request;
  for (std::uint64_t ref = 0; ref < 50; ++ref) *request.add_items() = GoodItem(ref);
  stream->Write(request);
  ASSERT_TRUE(service_.WaitUntilHeld(kCallers + 50));
  bool drained = false;
  std::thread drain([&] { drained = server_->Drain(clock_.Now() + std::chrono::seconds(10)); });
  service_.Release();
  int results = 0;
  v1::SignStreamResponse response;
  while (stream->Read(&response)) results += response.results_size();
  EXPECT_EQ(results, 50);
  ExpectError(stream->Finish(), ErrorCode::kUnavailable, "shutting down");
  for (std::thread& caller : callers) caller.join();
  drain.join();
  EXPECT_TRUE(drained);
  EXPECT_EQ(good, kCallers);
}

TEST_F(GrpcServerTest, StopWaitsForCallsThatAreOut) {
  service_.Hold();
  std::thread caller([&] { EXPECT_FALSE(Sign(GoodRequest()).ok()); });
  ASSERT_TRUE(service_.WaitUntilHeld(1));
  std::thread stop([&] { server_->Stop(); });
  caller.join();
  service_.Release();
  stop.join();
}

// A gateway goes and another comes at the same address: callers who wait for one lose no call.
TEST_F(GrpcServerTest, AnotherTakesOverWithoutALostCall) {
  std::atomic<bool> done{false};
  std::atomic<int> good{0}, bad{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      while (!done) {
        grpc::ClientContext context;
        BePatient(context);
        context.set_wait_for_ready(true);
        v1::SignResponse response;
        const grpc::Status status = stub_->Sign(&context, GoodRequest(), &response);
        status.ok() ? ++good : ++bad;
        if (!status.ok()) ADD_FAILURE() << status.error_code() << ' ' << status.error_message();
      }
    });
  }
  const auto await_more = [&] {
    const int before = good;
    while (good < before + 100 && bad == 0) std::this_thread::yield();
  };
  for (int i = 0; i < 5; ++i) {
    await_more();
    EXPECT_TRUE(server_->Drain(clock_.Now() + std::chrono::seconds(10)));
    server_ = std::make_unique<GrpcServer>(GrpcServer::Options{.listen = address_}, *chain_,
                                           clients_, metrics_, clock_);
    ASSERT_TRUE(server_->Start().ok());
  }
  await_more();
  done = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(bad, 0);
}

// ---- Who is let in ---------------------------------------------------------------------------

// Another server, and a channel to it.
class OtherGrpcServer {
 public:
  OtherGrpcServer(GrpcServer::Options options, SignerService& service, Clients& clients,
                  Metrics& metrics, const Clock& clock)
      : server_(WithPort(std::move(options)), service, clients, metrics, clock),
        address_(*server_.Start()) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stub_ = v1::Signer::NewStub(
        grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments));
  }
  const std::string& address() const { return address_; }
  v1::Signer::Stub& stub() { return *stub_; }

 private:
  static GrpcServer::Options WithPort(GrpcServer::Options options) {
    options.listen = "127.0.0.1:0";
    return options;
  }
  GrpcServer server_;
  const std::string address_;
  std::unique_ptr<v1::Signer::Stub> stub_;
};

TEST_F(GrpcServerTest, CallsHaveTheTimeoutsAndHintsThatTheSettingsSayNow) {
  OtherGrpcServer other({.calls = calls_}, service_, clients_, metrics_, clock_);
  for (const auto timeout : {std::chrono::milliseconds(700), std::chrono::milliseconds(3000)}) {
    calls_.sign_timeout = calls_.create_timeout = timeout;
    const MonotonicTime before = clock_.Now();
    EXPECT_TRUE(Sign(other.stub(), GoodRequest()).ok());
    EXPECT_TRUE(Create(other.stub()).ok());
    for (const MonotonicTime deadline :
         {service_.last_deadline(), service_.last_create()->deadline}) {
      EXPECT_GE(deadline, before + timeout);
      EXPECT_LE(deadline, clock_.Now() + timeout);
    }
  }
  service_.SetOutcome(key_id_, ErrorCode::kRetryLater);
  for (const int hint_ms : {7, 911}) {
    calls_.retry_hint_min = calls_.retry_hint_max = std::chrono::milliseconds(hint_ms);
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(Sign(other.stub(), GoodRequest()).error_details()));
    google::rpc::RetryInfo retry;
    ASSERT_EQ(details.details_size(), 2);
    ASSERT_TRUE(details.details(1).UnpackTo(&retry));
    EXPECT_EQ(retry.retry_delay().nanos(), hint_ms * 1'000'000);
  }
}

TEST_F(GrpcServerTest, CreatesAndLookUpsAreLetInLikeSignatures) {
  admission_settings_.in_flight_max = 1;
  Admission one(admission_settings_, clients_, metrics_);
  AdmissionFilter chain(service_, one, clock_);
  OtherGrpcServer other({}, chain, clients_, metrics_, clock_);
  const std::string key_id = key_id_.ToString();
  service_.Hold();
  std::thread signing([&] { EXPECT_TRUE(Sign(other.stub(), GoodRequest()).ok()); });
  ASSERT_TRUE(service_.WaitUntilHeld(1));
  ExpectError(Create(other.stub()), ErrorCode::kRetryLater, "at its limit");
  ExpectError(GetKey(other.stub(), key_id), ErrorCode::kRetryLater, "at its limit");
  service_.Release();
  signing.join();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Create(other.stub()).ok());
    EXPECT_TRUE(GetKey(other.stub(), key_id).ok());
  }
  EXPECT_EQ(one.in_flight(), 0u);
}

TEST_F(GrpcServerTest, AProxysMetadataSaysWhoseACallIs) {
  GrpcServer::Options options;
  options.forwarded = {.field = ForwardedField::kXForwardedFor,
                       .proxies = *IpNetworks::Parse({"127.0.0.1"})};
  OtherGrpcServer other(options, *chain_, clients_, metrics_, clock_);
  MonotonicTime now{std::chrono::hours(1)};
  admission_->Tick(now, {});
  for (const char* client : {"192.0.2.1", "6.6.6.6, 192.0.2.2", "192.0.2.2"}) {
    grpc::ClientContext context;
    BePatient(context);
    context.AddMetadata("x-forwarded-for", client);
    v1::SignResponse response;
    EXPECT_TRUE(other.stub().Sign(&context, GoodRequest(), &response).ok());
  }
  admission_->Tick(now + std::chrono::seconds(2), {});
  EXPECT_THAT(metrics_.Exposition(), HasSubstr("\nbulla_gateway_clients 2\n"));
}

TEST_F(GrpcServerTest, AProxysConnectionBeginsWithItsHeaderOrIsClosed) {
  GrpcServer::Options options;
  options.forwarded.proxies = *IpNetworks::Parse({"127.0.0.1"});
  options.proxy_protocol = true;
  OtherGrpcServer other(options, *chain_, clients_, metrics_, clock_);
  const std::string http2 =
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string(3, '\0') + "\x04" + std::string(5, '\0');
  // What the server sends first, a SETTINGS frame; nothing when it closes.
  const auto greeting = [&](const std::vector<std::string>& parts, const char* from) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    timeval patience{10, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const absl::StatusOr<SocketAddress> own = ParseListenAddress(std::string(from) + ":0");
    const absl::StatusOr<SocketAddress> to = ParseListenAddress(other.address());
    EXPECT_EQ(::bind(fd.get(), own->data(), own->size), 0);
    EXPECT_EQ(::connect(fd.get(), to->data(), to->size), 0);
    for (const std::string& part : parts) {
      if (::send(fd.get(), part.data(), part.size(), MSG_NOSIGNAL) < 0) break;
    }
    char frame[9];
    const ssize_t got = ::recv(fd.get(), frame, sizeof frame, MSG_WAITALL);
    return got == sizeof frame && frame[3] == 4;
  };
  EXPECT_TRUE(greeting({"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n" + http2}, "127.0.0.1"));
  EXPECT_TRUE(greeting({"PROXY TC", "P4 192.0.2.1 127.0.0.1 1 2\r", "\n", http2}, "127.0.0.1"));
  EXPECT_FALSE(greeting({http2}, "127.0.0.1"));
  EXPECT_FALSE(greeting({"PROXY TCP4 192.0.2.1\r\n" + http2}, "127.0.0.1"));
  EXPECT_TRUE(greeting({http2}, "127.0.0.2")) << "who is no proxy speaks for itself";
}

}  // namespace
}  // namespace bulla
