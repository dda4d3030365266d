#include "http2/grpc_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "http2/grpc_client.h"
#include "tests/fakes/grpc_echo.h"
#include "tests/fakes/http2_frames.h"

namespace bulla::http2 {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using Code = absl::StatusCode;
namespace frames = http2_frames;

// Answers each message with the same, and what it is asked to do otherwise.
class EchoOrFail final : public Echo {
 public:
  using Echo::Echo;
  void OnMessage(ByteSpan message) override {
    if (AsText(message) != "fail") return Echo::OnMessage(message);
    server_.Finish(stream_, {Code::kAborted, "as wished: 100%", "details"});
  }
};

// Takes messages one at a time, when it is told to.
class Reluctant final : public GrpcHandler {
 public:
  struct Seen {
    StreamId stream = 0;
    bool wants = true;
    std::vector<std::string> messages;
    bool half_closed = false;
  };
  explicit Reluctant(Seen& seen) : seen_(seen) {}
  void OnMessage(ByteSpan message) override {
    EXPECT_TRUE(std::exchange(seen_.wants, false));
    seen_.messages.emplace_back(AsText(message));
  }
  void OnHalfClose() override { seen_.half_closed = true; }
  bool WantsMessage() const override { return seen_.wants; }

 private:
  Seen& seen_;
};

// What becomes of a call, in words.
class Record final : public GrpcCallEvents {
 public:
  void OnMessage(ByteSpan message) override { messages.emplace_back(AsText(message)); }
  void OnWritten() override { ++written; }
  void OnDone(const GrpcStatus& ended) override {
    EXPECT_FALSE(status) << "told twice";
    status = ended;
  }
  std::vector<std::string> messages;
  int written = 0;
  std::optional<GrpcStatus> status;
};

class GrpcTest : public testing::Test {
 protected:
  GrpcTest() {
    methods.AddUnary("/test.Service/Unary",
                     [](GrpcServer& grpc, const GrpcRequest& request, ByteSpan message) {
                       grpc.Answer(request.stream, message);
                     });
    methods.AddUnary("/test.Service/Never", [&](GrpcServer&, const GrpcRequest& request, ByteSpan) {
      unanswered = request.stream;
      deadline = request.deadline;
    });
    methods.AddServerStream("/test.Service/Three",
                            [](GrpcServer& grpc, const GrpcRequest& request, ByteSpan message) {
                              for (int i = 0; i < 3; ++i) grpc.Send(request.stream, message);
                              grpc.Finish(request.stream, {});
                            });
    methods.AddStream("/test.Service/Echo", [](GrpcServer& grpc, const GrpcRequest& request) {
      return std::make_unique<EchoOrFail>(grpc, request.stream);
    });
    methods.AddStream("/test.Service/Reluctant", [&](GrpcServer&, const GrpcRequest& request) {
      reluctant.stream = request.stream;
      return std::make_unique<Reluctant>(reluctant);
    });
    server.Attach(server_session, nullptr);
    client.Attach(client_session, nullptr);
  }

  void Pump() {
    client_session.Tick(now);
    server_session.Tick(now);
    client.Tick(now);
    server.Tick(now);
    for (int i = 0; i < 1000; ++i) {
      std::string up, down;
      client_session.Gather(up, 1 << 30, now);
      server_session.Gather(down, 1 << 30, now);
      if (up.empty() && down.empty()) return;
      server_session.Feed(AsBytes(up), now);
      client_session.Feed(AsBytes(down), now);
    }
    FAIL() << "the two never stop talking";
  }

  struct Reply {
    std::optional<GrpcStatus> status;
    std::string message;
  };
  std::shared_ptr<Reply> Call(std::string_view path, std::string_view message,
                              GrpcClient::Timeout timeout = std::nullopt) {
    auto reply = std::make_shared<Reply>();
    client.Unary(path, AsBytes(message), timeout, now,
                 [reply](const GrpcStatus& status, ByteSpan bytes) {
                   EXPECT_FALSE(reply->status) << "told twice";
                   reply->status = status;
                   reply->message = AsText(bytes);
                 });
    return reply;
  }
  void ExpectServes() {
    const auto reply = Call("/test.Service/Unary", "still there?");
    Pump();
    ASSERT_TRUE(reply->status);
    EXPECT_TRUE(reply->status->ok()) << reply->status->message;
    EXPECT_EQ(reply->message, "still there?");
  }

  MonotonicTime now{hours(1)};
  GrpcMethods methods;
  StreamId unanswered = 0;
  MonotonicTime deadline;
  Reluctant::Seen reluctant;
  GrpcServer::Options options{.message_bytes_max = 500'000, .partial_bytes_max = 600'000};
  GrpcServer server{options, methods};
  GrpcClient client{{.authority = "test"}};
  Session server_session{{.role = Session::Role::kServer}, server, nullptr, now};
  Session client_session{{.role = Session::Role::kClient}, client, nullptr, now};
};

TEST_F(GrpcTest, AUnaryCallIsAnswered) {
  const auto small = Call("/test.Service/Unary", "hello");
  const auto empty = Call("/test.Service/Unary", "");
  const std::string large(500'000, 'l');
  const auto whole = Call("/test.Service/Unary", large);
  Pump();
  EXPECT_EQ(small->message, "hello");
  EXPECT_EQ(empty->message, "");
  EXPECT_TRUE(empty->status->ok());
  EXPECT_EQ(whole->message, large);
  EXPECT_EQ(server.calls(), 0u);
  EXPECT_EQ(client_session.streams() + server_session.streams(), 0u);
  EXPECT_EQ(client_session.memory_bytes() + server_session.memory_bytes(), 0u);
}

// What a server that counts resets would take for an attack.
TEST_F(GrpcTest, ThousandsOfCallsLeaveNothingBehind) {
  for (int i = 0; i < 3000; ++i) ExpectServes();
  EXPECT_FALSE(server_session.over());
  EXPECT_EQ(client_session.streams() + server_session.streams(), 0u);
}

TEST_F(GrpcTest, AServerStreamBringsManyMessages) {
  Record call;
  const StreamId stream = *client.Start("/test.Service/Three", std::nullopt, now, call);
  client.Write(stream, AsBytes("x"));
  client.EndWrites(stream);
  Pump();
  EXPECT_THAT(call.messages, ElementsAre("x", "x", "x"));
  ASSERT_TRUE(call.status);
  EXPECT_TRUE(call.status->ok());
}

TEST_F(GrpcTest, AStreamGoesBothWaysUntilItIsEnded) {
  Record call;
  const StreamId stream = *client.Start("/test.Service/Echo", std::nullopt, now, call);
  for (const char* text : {"a", "b", "c"}) {
    client.Write(stream, AsBytes(text));
    Pump();
  }
  EXPECT_THAT(call.messages, ElementsAre("a", "b", "c"));
  EXPECT_EQ(call.written, 3);
  EXPECT_FALSE(call.status);
  client.EndWrites(stream);
  Pump();
  ASSERT_TRUE(call.status);
  EXPECT_TRUE(call.status->ok());
  EXPECT_EQ(server.calls(), 0u);
}

TEST_F(GrpcTest, AnErrorTravelsWithMessageAndDetails) {
  Record call;
  const StreamId stream = *client.Start("/test.Service/Echo", std::nullopt, now, call);
  client.Write(stream, AsBytes("a"));
  client.Write(stream, AsBytes("fail"));
  Pump();
  EXPECT_THAT(call.messages, ElementsAre("a"));
  ASSERT_TRUE(call.status);
  EXPECT_EQ(call.status->code, Code::kAborted);
  EXPECT_EQ(call.status->message, "as wished: 100%");
  EXPECT_EQ(call.status->details, "details");
  EXPECT_EQ(client_session.streams() + server_session.streams(), 0u);
}

TEST_F(GrpcTest, AMethodThatIsNotThereIsUnimplemented) {
  const auto reply = Call("/test.Service/Other", "x");
  Pump();
  ASSERT_TRUE(reply->status);
  EXPECT_EQ(reply->status->code, Code::kUnimplemented);
  ExpectServes();
}

TEST_F(GrpcTest, AMessageOverTheLimitIsRefusedBeforeItIsTaken) {
  const auto reply = Call("/test.Service/Unary", std::string(500'001, 'x'));
  Pump();
  ASSERT_TRUE(reply->status);
  EXPECT_EQ(reply->status->code, Code::kResourceExhausted);
  ExpectServes();
}

TEST_F(GrpcTest, UnfinishedMessagesAreBoundedTogether) {
  std::vector<Record> calls(3);
  std::string begun;
  AppendGrpcMessage(AsBytes(std::string(400'000, 'x')), begun);
  begun.resize(300'000);
  for (Record& call : calls) {
    const StreamId stream = *client.Start("/test.Service/Unary", std::nullopt, now, call);
    client_session.Send(stream, AsBytes(begun));
    Pump();
  }
  EXPECT_FALSE(calls[0].status);
  ASSERT_TRUE(calls[2].status);
  EXPECT_EQ(calls[2].status->code, Code::kResourceExhausted);
  ExpectServes();
}

TEST_F(GrpcTest, ARequestThatIsNotCompletedIsGivenUp) {
  Record unary, stream_call;
  client_session.Send(*client.Start("/test.Service/Unary", std::nullopt, now, unary),
                      AsBytes(std::string_view("\0\0\0\0\7x", 6)));
  client_session.Send(*client.Start("/test.Service/Echo", std::nullopt, now, stream_call),
                      AsBytes(std::string_view("\0\0\0\0\7x", 6)));
  Record waiting;
  client.Start("/test.Service/Echo", std::nullopt, now, waiting);
  Pump();
  now += options.request_timeout;
  Pump();
  ASSERT_TRUE(unary.status && stream_call.status);
  EXPECT_EQ(unary.status->code, Code::kDeadlineExceeded);
  EXPECT_EQ(stream_call.status->code, Code::kDeadlineExceeded);
  EXPECT_FALSE(waiting.status);  // a stream may be silent between messages
}

TEST_F(GrpcTest, DeadlinesAreKeptAtBothEnds) {
  const auto reply = Call("/test.Service/Never", "x", milliseconds(200));
  Pump();
  EXPECT_EQ(deadline, now + milliseconds(200));
  now += milliseconds(199);
  Pump();
  EXPECT_FALSE(reply->status);
  now += milliseconds(1);
  server.Tick(now);
  EXPECT_EQ(server.calls(), 0u);
  server.Answer(unanswered, AsBytes("too late"));
  client.Tick(now);
  ASSERT_TRUE(reply->status);
  EXPECT_EQ(reply->status->code, Code::kDeadlineExceeded);
  ExpectServes();
}

TEST_F(GrpcTest, ACancelledCallIsGoneAtBothEnds) {
  Record call;
  const StreamId stream = *client.Start("/test.Service/Echo", std::nullopt, now, call);
  Pump();
  EXPECT_EQ(server.calls(), 1u);
  client.Cancel(stream);
  ASSERT_TRUE(call.status);
  EXPECT_EQ(call.status->code, Code::kCancelled);
  client.Write(stream, AsBytes("nobody"));
  Pump();
  EXPECT_EQ(server.calls(), 0u);
  ExpectServes();
}

TEST_F(GrpcTest, ALostConnectionEndsEveryCall) {
  const auto unary = Call("/test.Service/Never", "x");
  Record call;
  client.Start("/test.Service/Echo", std::nullopt, now, call);
  Pump();
  client.OnOver(absl::UnavailableError("cut"));
  server.OnOver(absl::UnavailableError("cut"));
  EXPECT_EQ(unary->status->code, Code::kUnavailable);
  EXPECT_EQ(call.status->code, Code::kUnavailable);
  EXPECT_EQ(server.calls(), 0u);
}

TEST_F(GrpcTest, ACallerWhoTakesNoAnswersMaySendNoMore) {
  // 300 messages of a kilobyte by a client that gives no window for what comes back.
  Record call;
  const StreamId stream = *client.Start("/test.Service/Echo", std::nullopt, now, call);
  Pump();
  for (int i = 0; i < 300; ++i) client.Write(stream, AsBytes(std::string(1000, 'x')));
  std::string up;
  for (int i = 0; i < 20; ++i) {  // what the server says is read for its windows alone
    up.clear();
    client_session.Gather(up, 1 << 30, now);
    server_session.Feed(AsBytes(up), now);
    std::string down;
    server_session.Gather(down, 1 << 30, now);
    for (const auto& frame : frames::Parse(down)) {
      if (frame.type != frames::kWindowUpdate) continue;
      const std::string update = frames::Frame(frame.type, 0, frame.stream, frame.payload);
      client_session.Feed(AsBytes(update), now);
    }
  }
  EXPECT_LE(server_session.memory_bytes(), 300'000u);
  EXPECT_GT(client_session.memory_bytes(), 50'000u);
}

// To the message: what is behind it waits at the caller, but for what a stream's window holds.
TEST_F(GrpcTest, AHandlerIsGivenAMessageWhenItWantsOne) {
  Record call;
  const StreamId stream = *client.Start("/test.Service/Reluctant", std::nullopt, now, call);
  for (int i = 0; i < 300; ++i) client.Write(stream, AsBytes(std::string(1000, 'x')));
  client.EndWrites(stream);
  Pump();
  EXPECT_EQ(reluctant.messages.size(), 1u);
  EXPECT_LE(server_session.memory_bytes(), 64u * 1024);
  EXPECT_GT(client_session.memory_bytes(), 200'000u);
  now += options.request_timeout;  // is nobody's fault
  for (std::size_t i = 2; i <= 300; ++i) {
    EXPECT_FALSE(reluctant.half_closed);
    reluctant.wants = true;
    server.Resume(reluctant.stream);
    Pump();
    ASSERT_EQ(reluctant.messages.size(), i);
  }
  EXPECT_TRUE(reluctant.half_closed);
  EXPECT_FALSE(call.status);
  EXPECT_EQ(server_session.memory_bytes(), 0u);
}

// ---- Requests by hand ---------------------------------------------------------------------------

class GrpcRequestTest : public GrpcTest {
 protected:
  GrpcRequestTest() { server_session.Feed(AsBytes(frames::Hello()), now); }
  // The fields of the answer's first block, as they stand in it: literals are what is looked for.
  std::string AnswerTo(const frames::Fields& fields, std::string_view data = "") {
    const StreamId stream = next_;
    next_ += 2;
    std::string request = frames::Headers(stream, fields, data.empty());
    if (!data.empty()) request += frames::Data(stream, data, true);
    server_session.Feed(AsBytes(request), now);
    std::string out;
    server_session.Gather(out, 1 << 30, now);
    return Decode(out, stream);
  }

 private:
  // By a client session of its own, which takes what it never asked for as an answer to it.
  std::string Decode(std::string_view out, StreamId stream) {
    class Reader final : public SessionEvents {
     public:
      void OnHeaders(StreamId, const HeaderBlock& headers) override {
        for (std::size_t i = 0; i < headers.size(); ++i) {
          text += std::string(headers[i].name) + "=" + std::string(headers[i].value) + "\n";
        }
      }
      void OnData(StreamId, ByteSpan) override {}
      void OnTrailers(StreamId stream, const HeaderBlock& trailers) override {
        OnHeaders(stream, trailers);
      }
      void OnEnd(StreamId) override {}
      void OnWritten(StreamId) override {}
      void OnClosed(StreamId, ErrorCode) override {}
      void OnGoAway() override {}
      std::string text;
    } reader;
    Session session({.role = Session::Role::kClient}, reader, nullptr, now);
    const Header request[] = {
        {":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {":authority", "x"}};
    for (StreamId id = 1; id <= stream; id += 2) {
      EXPECT_TRUE(session.Open(request, false).ok());
    }
    std::string ignored;
    session.Gather(ignored, 1 << 30, now);
    all_ += out;
    session.Feed(AsBytes(all_), now);
    return reader.text.substr(std::exchange(decoded_, reader.text.size()));
  }
  StreamId next_ = 1;
  std::string all_;
  std::size_t decoded_ = 0;
};

TEST_F(GrpcRequestTest, ThatIsNoneOfGrpcIsAnsweredAsHttp) {
  frames::Fields json = frames::RequestFields();
  json.back().second = "application/json";
  EXPECT_THAT(AnswerTo(json), testing::HasSubstr(":status=415\n"));
  frames::Fields get = frames::RequestFields();
  get.front().second = "GET";
  EXPECT_THAT(AnswerTo(get), testing::HasSubstr(":status=405\n"));
}

TEST_F(GrpcRequestTest, ThatIsCompressedIsRefusedWithWhatIsTaken) {
  frames::Fields gzip = frames::RequestFields();
  gzip.emplace_back("grpc-encoding", "gzip");
  for (const std::string& answer :
       {AnswerTo(gzip), AnswerTo(frames::RequestFields(), std::string("\1\0\0\0\1x", 6))}) {
    EXPECT_THAT(answer, testing::HasSubstr(":status=200\n"));
    EXPECT_THAT(answer, testing::HasSubstr("grpc-status=12\n"));
    EXPECT_THAT(answer, testing::HasSubstr("grpc-accept-encoding=identity\n"));
  }
}

TEST_F(GrpcRequestTest, HasItsMetadataWithHeadersAndStatus) {
  methods.AddUnary("/test.Service/Named",
                   [](GrpcServer& grpc, const GrpcRequest& request, ByteSpan message) {
                     grpc.AddMetadata(request.stream, "x-name", "n");
                     if (message.empty())
                       return grpc.Finish(request.stream, {Code::kAborted, "", ""});
                     grpc.Answer(request.stream, message);
                   });
  const frames::Fields fields = frames::RequestFields("/test.Service/Named");
  EXPECT_EQ(AnswerTo(fields, std::string("\0\0\0\0\1x", 6)),
            ":status=200\ncontent-type=application/grpc\nx-name=n\ngrpc-status=0\nx-name=n\n");
  EXPECT_EQ(AnswerTo(fields, std::string(5, '\0')),
            ":status=200\ncontent-type=application/grpc\ngrpc-status=10\nx-name=n\n");
}

TEST_F(GrpcRequestTest, ThatIsMalformedIsAnInvalidArgument) {
  frames::Fields timeout = frames::RequestFields();
  timeout.emplace_back("grpc-timeout", "soon");
  const std::string one("\0\0\0\0\1x", 6);
  for (const std::string& answer :
       {AnswerTo(timeout), AnswerTo(frames::RequestFields()),
        AnswerTo(frames::RequestFields(), one + one), AnswerTo(frames::RequestFields(), "half")}) {
    EXPECT_THAT(answer, testing::HasSubstr("grpc-status=3\n"));
  }
}

}  // namespace
}  // namespace bulla::http2
