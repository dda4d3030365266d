// What callers do who keep to no rule, and what others on the same connection, or the same gateway,
// see of it: nothing.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <utility>
#include <vector>

#include <malloc.h>
#include <poll.h>

#include "base/fd.h"
#include "base/host_port.h"
#include "bulla/v1/signer.pb.h"
#include "gateway/grpc/server.h"
#include "http2/grpc_client.h"
#include "http2/grpc_message.h"
#include "http2/session.h"
#include "tests/fakes/front_end_test.h"
#include "wire/address.h"

namespace bulla {
namespace {

using http2::ErrorCode;
using http2::GrpcClient;
using http2::GrpcStatus;
using http2::Header;
using http2::StreamId;
using Code = absl::StatusCode;

// A caller on one connection that says what a test likes.
class RawCaller {
 public:
  explicit RawCaller(const std::string& address)
      : fd_(*DialBlocking(*Address::Parse("tcp:" + address), std::chrono::seconds(10))) {
    client_.Attach(session_, nullptr);
  }

  http2::Session& session() { return session_; }
  GrpcClient& client() { return client_; }
  bool closed() const { return closed_; }

  // Sends and receives until `condition` is true, or the gateway has closed the connection.
  template <typename Condition>
  void Until(Condition condition) {
    const MonotonicTime end = clock_.Now() + std::chrono::seconds(20);
    while (!condition() && !closed_ && clock_.Now() < end) Turn();
    EXPECT_TRUE(condition() || closed_);
  }
  // A unary call, and how it ends.
  GrpcStatus Call(std::string_view path, std::string_view message) {
    std::optional<GrpcStatus> ended;
    client_.Unary(path, AsBytes(message), std::nullopt, clock_.Now(),
                  [&](const GrpcStatus& status, ByteSpan) { ended = status; });
    Until([&] { return ended.has_value(); });
    return ended.value_or(GrpcStatus{Code::kUnavailable, "closed", ""});
  }
  // A stream whose request has `more` fields. It is told what it is sent, and reads nothing.
  StreamId Open(std::string_view path, const std::vector<Header>& more = {}) {
    std::vector<Header> fields = {{":method", "POST"}, {":scheme", "http"},
                                  {":path", path},     {":authority", "localhost"},
                                  {"te", "trailers"},  {"content-type", "application/grpc"}};
    fields.insert(fields.end(), more.begin(), more.end());
    return session_.Open(fields, /*end=*/false).value_or(0);
  }

 private:
  void Turn() {
    session_.Gather(out_, 64 * 1024, clock_.Now());
    while (!out_.empty()) {
      const ssize_t sent = ::send(fd_.get(), out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent <= 0) break;
      out_.erase(0, static_cast<std::size_t>(sent));
    }
    pollfd wanted{fd_.get(), POLLIN, 0};
    ::poll(&wanted, 1, 1);
    std::uint8_t in[64 * 1024];
    const ssize_t got = ::recv(fd_.get(), in, sizeof in, MSG_DONTWAIT);
    if (got > 0) session_.Feed({in, static_cast<std::size_t>(got)}, clock_.Now());
    if (got == 0 || (got < 0 && errno != EAGAIN)) closed_ = true;
  }

  RealClock clock_;
  UniqueFd fd_;
  GrpcClient client_{{.authority = "localhost"}};
  http2::Session session_{{.role = http2::Session::Role::kClient,
                           .streams_max = 1000,
                           .memory_bytes_max = 1024 * 1024 * 1024},
                          client_,
                          nullptr,
                          clock_.Now()};
  std::string out_;
  bool closed_ = false;
};

// A SignStream that stands, of an honest caller.
class Standing final : public http2::GrpcCallEvents {
 public:
  Standing(RawCaller& caller, const KeyId& key_id)
      : caller_(caller),
        key_id_(key_id),
        stream_(*caller.client().Start("/bulla.v1.Signer/SignStream", std::nullopt,
                                       RealClock().Now(), *this)) {}
  void OnMessage(ByteSpan message) override {
    v1::SignStreamResponse response;
    EXPECT_TRUE(response.ParseFromArray(message.data(), static_cast<int>(message.size())));
    for (const v1::SignStreamResult& result : response.results()) answered_ += result.has_ok();
  }
  void OnWritten() override {}
  void OnDone(const GrpcStatus& status) override { ended = status; }

  void ExpectSigns() {
    v1::SignStreamRequest request;
    v1::SignStreamItem& item = *request.add_items();
    item.set_key_id(key_id_.ToString());
    item.set_digest(std::string(32, 'd'));
    caller_.client().Write(stream_, AsBytes(request.SerializeAsString()));
    const int before = answered_;
    caller_.Until([&] { return answered_ > before || ended; });
    EXPECT_EQ(answered_, before + 1);
    EXPECT_FALSE(ended) << ended->message;
  }

  std::optional<GrpcStatus> ended;

 private:
  RawCaller& caller_;
  const KeyId key_id_;
  const StreamId stream_;
  int answered_ = 0;
};

class GrpcBadInputTest : public FrontEndTest<GrpcServer> {
 protected:
  // A call that the service holds when this returns; `answered` is set when it has been.
  void CallHeldByService(RawCaller& caller, std::optional<GrpcStatus>& answered) {
    service_.Hold();
    caller.client().Unary("/bulla.v1.Signer/Sign", AsBytes(GoodRequest()), std::nullopt,
                          clock_.Now(),
                          [&answered](const GrpcStatus& status, ByteSpan) { answered = status; });
    caller.Until([&] { return service_.WaitUntilHeld(1, std::chrono::milliseconds(0)); });
  }
  std::string GoodRequest() const {
    v1::SignRequest request;
    request.set_key_id(key_id_.ToString());
    request.set_digest(std::string(32, 'd'));
    return request.SerializeAsString();
  }
  void ExpectServes(RawCaller& caller) {
    const GrpcStatus status = caller.Call("/bulla.v1.Signer/Sign", GoodRequest());
    EXPECT_TRUE(status.ok()) << status.message;
  }
};

TEST_F(GrpcBadInputTest, WhatIsWrongWithAStreamEndsNoOther) {
  StartServer({.threads = 1});
  RawCaller caller(address_);
  Standing neighbour(caller, key_id_);
  neighbour.ExpectSigns();
  const std::string sign = "/bulla.v1.Signer/Sign";
  const std::string streamed = "/bulla.v1.Signer/SignStream";
  const std::string huge(20'000, 'h');
  // By its header: malformed, too large, compressed, no method, no time-out.
  const std::vector<std::pair<std::string, std::vector<Header>>> headers = {
      {sign, {{"te", "gzip"}}},
      {sign, {{"connection", "close"}}},
      {sign, {{":path", "/again"}}},
      {sign, {{"huge", huge}}},
      {sign, {{"grpc-encoding", "gzip"}}},
      {sign, {{"grpc-timeout", "soon"}}},
      {"/bulla.v1.Signer/Other", {}},
      {streamed, {{"tenant-id", "acme"}}}};
  for (const auto& [path, fields] : headers) {
    SCOPED_TRACE(fields.empty() ? path : std::string(fields[0].name));
    const std::size_t open = caller.session().streams();
    caller.Open(path, fields);
    caller.Until([&] { return caller.session().streams() == open; });
    neighbour.ExpectSigns();
  }
  // By its data: compressed, longer than any, no message of ours, one with unknown fields, empty.
  std::string garbage, unknown, empty;
  http2::AppendGrpcMessage(AsBytes(std::string_view("\xff\xff\xff")), garbage);
  http2::AppendGrpcMessage(AsBytes(std::string_view("\x48\x01")), unknown);
  http2::AppendGrpcMessage({}, empty);
  for (const std::string& data : {std::string("\1\0\0\0\1x", 6),
                                  std::string("\0\xff\xff\xff\xff", 5), garbage, unknown, empty}) {
    for (const std::string& path : {sign, streamed}) {
      const std::size_t open = caller.session().streams();
      const StreamId stream = caller.Open(path);
      caller.session().Send(stream, AsBytes(data));
      caller.session().End(stream);
      caller.Until([&] { return caller.session().streams() == open; });
      neighbour.ExpectSigns();
    }
  }
  ExpectServes(caller);
  EXPECT_FALSE(caller.closed());
}

TEST_F(GrpcBadInputTest, AMessageThatIsNoneIsAnInvalidArgument) {
  StartServer();
  RawCaller caller(address_);
  for (const char* method : {"Sign", "Create", "GetKey"}) {
    const GrpcStatus status = caller.Call(fmt::format("/bulla.v1.Signer/{}", method), "\xff\xff");
    EXPECT_EQ(status.code, Code::kInvalidArgument);
    EXPECT_THAT(status.message, testing::HasSubstr("message: got 2 bytes that are no "));
    EXPECT_FALSE(status.details.empty());
  }
}

// Sixty-four of the largest messages, each but for its last byte: 256 MiB, of which a connection
// may leave kGrpcPartialBytesMax lying here.
TEST_F(GrpcBadInputTest, UnfinishedMessagesAreBounded) {
  StartServer({.threads = 1});
  const std::string chunk(limits::kRequestBodyBytesMax - 1, 'x');
  std::string prefix;
  http2::AppendGrpcMessage(AsBytes(chunk + "x"), prefix);
  prefix.resize(http2::kGrpcPrefixBytes);
  RawCaller caller(address_);
  std::size_t peak = 0;
  const std::size_t before = ::mallinfo2().uordblks + ::mallinfo2().hblkhd;
  int refused = 0;
  for (int i = 0; i < 64; ++i) {
    const std::size_t open = caller.session().streams();
    const StreamId stream = caller.Open("/bulla.v1.Signer/Sign");
    caller.session().Send(stream, AsBytes(prefix));
    caller.session().Send(stream, AsBytes(chunk));
    caller.Until([&] {
      return caller.session().streams() == open || caller.session().unsent_bytes(stream) == 0;
    });
    const struct mallinfo2 now = ::mallinfo2();
    peak = std::max(peak, now.uordblks + now.hblkhd);
    refused += caller.session().streams() == open;
  }
  EXPECT_GE(refused, 62);
  EXPECT_LT(peak - before, limits::kGrpcPartialBytesMax + 2 * chunk.size() + 4 * 1024 * 1024);
  ExpectServes(caller);
}

TEST_F(GrpcBadInputTest, WhoHoldsMostOfTheMemoryLosesIt) {
  StartServer({.threads = 1, .memory_bytes_max = 3 * 1024 * 1024});
  std::string begun;
  http2::AppendGrpcMessage(AsBytes(std::string(2'000'000, 'x')), begun);
  begun.pop_back();
  RawCaller small(address_);
  small.session().Send(small.Open("/bulla.v1.Signer/Sign"), AsBytes(begun.substr(0, 400'000)));
  small.Until([&] { return small.session().memory_bytes() == 0; });
  RawCaller large(address_);
  for (int i = 0; i < 2; ++i) {
    large.session().Send(large.Open("/bulla.v1.Signer/Sign"), AsBytes(begun));
  }
  large.Until([&] { return large.closed(); });
  EXPECT_TRUE(large.closed());
  ExpectServes(small);
}

TEST_F(GrpcBadInputTest, WhoOpensConnectionsWithoutEndTakesPlacesFromThoseThatWait) {
  StartServer({.threads = 1, .connections_max = 3});
  RawCaller busy(address_);
  std::optional<GrpcStatus> answered;
  CallHeldByService(busy, answered);
  RawCaller first(address_), second(address_);
  for (RawCaller* idle : {&first, &second}) {
    EXPECT_EQ(idle->Call("/grpc.health.v1.Health/Check", "").code, Code::kOk);
  }
  std::vector<std::unique_ptr<RawCaller>> others;
  for (int i = 0; i < 5; ++i) {
    RawCaller& another = *others.emplace_back(std::make_unique<RawCaller>(address_));
    EXPECT_EQ(another.Call("/grpc.health.v1.Health/Check", "").code, Code::kOk);
  }
  first.Until([&] { return first.closed(); });
  second.Until([&] { return second.closed(); });
  service_.Release();
  busy.Until([&] { return answered.has_value(); });
  ASSERT_TRUE(answered);
  EXPECT_TRUE(answered->ok()) << answered->message;
}

TEST_F(GrpcBadInputTest, WhenNoConnectionWaitsANewOneIsTurnedAway) {
  StartServer({.threads = 1, .connections_max = 1});
  RawCaller busy(address_);
  std::optional<GrpcStatus> answered;
  CallHeldByService(busy, answered);
  RawCaller another(address_);
  another.Until([&] { return another.closed(); });
  EXPECT_TRUE(another.closed());
  service_.Release();
  busy.Until([&] { return answered.has_value(); });
  RawCaller later(address_);  // the busy one waits now
  ExpectServes(later);
}

// Rapid reset, CVE-2023-44487.
TEST_F(GrpcBadInputTest, WhoResetsStreamsWithoutEndIsEndedAlone) {
  StartServer({.threads = 1});
  RawCaller honest(address_);
  Standing neighbour(honest, key_id_);
  neighbour.ExpectSigns();
  RawCaller bad(address_);
  for (int i = 0; i < 500 && !bad.closed(); ++i) {
    const StreamId stream = bad.Open("/bulla.v1.Signer/SignStream");
    bad.session().Send(stream, AsBytes("x"));
    bad.Until([&] { return bad.session().unsent_bytes(stream) == 0; });
    bad.session().Reset(stream, ErrorCode::kCancel);
    bad.Until([&] { return bad.session().streams() == 0; });
  }
  bad.Until([&] { return bad.closed(); });
  EXPECT_TRUE(bad.closed());
  neighbour.ExpectSigns();
}

}  // namespace
}  // namespace bulla
