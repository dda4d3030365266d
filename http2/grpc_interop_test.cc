// gRPC by others at the other end of ours: grpc++ on both sides, grpcio of Python as a client.
// Every kind of call, errors, deadlines, cancellation, large messages, compression, the end.

#include <array>
#include <atomic>
#include <cstdlib>
#include <future>
#include <gmock/gmock.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>

#include "base/acceptor.h"
#include "base/await.h"
#include "http2/connection.h"
#include "http2/grpc_client.h"
#include "http2/grpc_server.h"
#include "tests/fakes/grpc_echo.h"

namespace bulla::http2 {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

grpc::ByteBuffer BufferOf(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

std::string TextOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

std::array<UniqueFd, 2> SocketPair() {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// A loop on a thread of its own.
class Loop {
 public:
  Loop() : thread_([this] { io_.run(); }) {}
  ~Loop() {
    io_.stop();
    thread_.join();
  }
  boost::asio::io_context& io() { return io_; }
  // Runs it there and waits for that.
  template <typename Function>
  auto Run(Function function) {
    std::packaged_task<decltype(function())()> task(std::move(function));
    auto result = task.get_future();
    boost::asio::post(io_, std::move(task));
    return result.get();
  }

 private:
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      io_.get_executor()};
  std::thread thread_;
};

// ---- grpc++ calls us ----------------------------------------------------------------------------

class ServerOfOurs : public testing::Test {
 protected:
  ServerOfOurs() {
    methods.AddUnary("/test.Service/Unary",
                     [](GrpcServer& server, const GrpcRequest& request, ByteSpan message) {
                       server.Answer(request.stream, message);
                     });
    methods.AddUnary("/test.Service/Never", [](GrpcServer&, const GrpcRequest&, ByteSpan) {});
    methods.AddUnary("/test.Service/Fail",
                     [](GrpcServer& server, const GrpcRequest& request, ByteSpan) {
                       server.Finish(request.stream, {absl::StatusCode::kAborted, "100% \u00fc\n",
                                                      std::string("\0\xff details", 10)});
                     });
    methods.AddUnary("/test.Service/Metadata",
                     [](GrpcServer& server, const GrpcRequest& request, ByteSpan) {
                       const std::string text(request.headers.Find("x-text").value_or("none"));
                       const std::optional<std::string> bytes =
                           DecodeBinaryField(request.headers.Find("x-bytes-bin").value_or(""), 100);
                       server.Answer(request.stream, AsBytes(text + bytes.value_or("bad")));
                     });
    methods.AddServerStream("/test.Service/Three",
                            [](GrpcServer& server, const GrpcRequest& request, ByteSpan message) {
                              for (int i = 0; i < 3; ++i) server.Send(request.stream, message);
                              server.Finish(request.stream, {});
                            });
    methods.AddStream("/test.Service/Echo", [](GrpcServer& server, const GrpcRequest& request) {
      return std::make_unique<Echo>(server, request.stream);
    });
  }

  // On the loop's thread.
  void Serve(UniqueFd fd) {
    auto server = std::make_unique<GrpcServer>(GrpcServer::Options{}, methods);
    calls = server.get();
    connection = Connection::Start(loop.io(), std::move(fd), clock,
                                   {.role = Session::Role::kServer, .memory_bytes_max = 9'000'000},
                                   std::move(server));
  }

  RealClock clock;
  GrpcMethods methods;
  GrpcServer* calls = nullptr;  // of the connection that was made last
  Loop loop;
  std::shared_ptr<Connection> connection;
};

class GrpcppClientTest : public ServerOfOurs {
 protected:
  GrpcppClientTest() {
    auto [ours, theirs] = SocketPair();
    loop.Run([&, fd = &ours] {
      Serve(std::move(*fd));
      return 0;
    });
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    channel = grpc::CreateCustomInsecureChannelFromFd("test", theirs.Release(), arguments);
    stub = std::make_unique<grpc::GenericStub>(channel);
  }

  grpc::Status Call(const std::string& method, const std::string& request, std::string& reply) {
    grpc::ClientContext context;
    return Call(context, method, request, reply);
  }
  grpc::Status Call(grpc::ClientContext& context, const std::string& method,
                    const std::string& request, std::string& reply) {
    const grpc::ByteBuffer out = BufferOf(request);
    grpc::ByteBuffer in;
    std::promise<grpc::Status> done;
    stub->UnaryCall(&context, method, {}, &out, &in,
                    [&](grpc::Status status) { done.set_value(std::move(status)); });
    grpc::Status status = done.get_future().get();
    if (status.ok()) reply = TextOf(in);
    return status;
  }
  std::size_t CallsLeft() {
    return loop.Run([&] { return calls->calls(); });
  }

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<grpc::GenericStub> stub;
};

TEST_F(GrpcppClientTest, UnaryCallsOfEverySizeAreAnswered) {
  for (const std::size_t size : {0u, 1u, 1000u, 70'000u, 4u * 1024 * 1024}) {
    const std::string request(size, 'x');
    std::string reply;
    const grpc::Status status = Call("/test.Service/Unary", request, reply);
    ASSERT_TRUE(status.ok()) << size << ": " << status.error_message();
    EXPECT_TRUE(reply == request) << size;
  }
  std::string reply;
  EXPECT_EQ(Call("/test.Service/Unary", std::string(4 * 1024 * 1024 + 1, 'x'), reply).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Call("/test.Service/Unary", "still there?", reply).ok());
}

TEST_F(GrpcppClientTest, ErrorsArriveWithMessageAndDetails) {
  std::string reply;
  const grpc::Status status = Call("/test.Service/Fail", "", reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "100% \u00fc\n");
  EXPECT_EQ(status.error_details(), std::string("\0\xff details", 10));
  EXPECT_EQ(Call("/test.Service/Other", "x", reply).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(GrpcppClientTest, MetadataArrives) {
  grpc::ClientContext context;
  context.AddMetadata("x-text", "text:");
  context.AddMetadata("x-bytes-bin", std::string("\0\1\2\3", 4));
  std::string reply;
  ASSERT_TRUE(Call(context, "/test.Service/Metadata", "", reply).ok());
  EXPECT_EQ(reply, "text:" + std::string("\0\1\2\3", 4));
}

TEST_F(GrpcppClientTest, CompressedRequestsAreRefused) {
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  std::string reply;
  EXPECT_EQ(Call(context, "/test.Service/Unary", std::string(10'000, 'x'), reply).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(Call("/test.Service/Unary", "x", reply).ok());
}

TEST_F(GrpcppClientTest, DeadlinesAndCancellationEndCallsAtBothEnds) {
  grpc::ClientContext late;
  late.set_deadline(clock.WallNow() + milliseconds(50));
  std::string reply;
  EXPECT_EQ(Call(late, "/test.Service/Never", "x", reply).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(AwaitBlocking(seconds(10), [&] { return CallsLeft() == 0; }));

  grpc::ClientContext cancelled;
  std::thread canceller([&] {
    EXPECT_TRUE(AwaitBlocking(seconds(10), [&] { return CallsLeft() == 1; }));
    cancelled.TryCancel();
  });
  EXPECT_EQ(Call(cancelled, "/test.Service/Never", "x", reply).error_code(),
            grpc::StatusCode::CANCELLED);
  canceller.join();
  EXPECT_TRUE(AwaitBlocking(seconds(10), [&] { return CallsLeft() == 0; }));
}

// A stream of messages, written one behind the other while answers come.
class StreamCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  StreamCall(grpc::GenericStub& stub, const std::string& method, std::vector<std::string> messages)
      : messages_(std::move(messages)) {
    stub.PrepareBidiStreamingCall(&context_, method, {}, this);
    WriteNext();
    StartRead(&in_);
    StartCall();
  }
  grpc::Status Wait() { return done_.get_future().get(); }
  std::vector<std::string> replies;

 private:
  void WriteNext() {
    if (written_ == messages_.size()) return StartWritesDone();
    out_ = BufferOf(messages_[written_++]);
    StartWrite(&out_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) WriteNext();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    replies.push_back(TextOf(in_));
    StartRead(&in_);
  }
  void OnDone(const grpc::Status& status) override { done_.set_value(status); }

  grpc::ClientContext context_;
  const std::vector<std::string> messages_;
  std::size_t written_ = 0;
  grpc::ByteBuffer out_, in_;
  std::promise<grpc::Status> done_;
};

TEST_F(GrpcppClientTest, StreamsGoBothWays) {
  std::vector<std::string> messages;
  for (int i = 0; i < 1000; ++i) messages.push_back(std::string(static_cast<std::size_t>(i), 'm'));
  StreamCall call(*stub, "/test.Service/Echo", messages);
  const grpc::Status status = call.Wait();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(call.replies, messages);
}

TEST_F(GrpcppClientTest, NoCallIsLostInADrain) {
  std::atomic<int> answered{0}, ended{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      while (true) {
        std::string reply;
        const grpc::Status status = Call("/test.Service/Unary", "x", reply);
        if (!status.ok()) {
          // The channel is of one connection; what it did not get is told apart from what is lost.
          EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
          ++ended;
          return;
        }
        ++answered;
      }
    });
  }
  EXPECT_TRUE(AwaitBlocking(seconds(10), [&] { return answered > 100; }));
  loop.Run([&] {
    connection->Drain();
    return 0;
  });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(ended, 4);
  EXPECT_TRUE(
      AwaitBlocking(seconds(10), [&] { return loop.Run([&] { return connection->closed(); }); }));
}

class GrpcioClientTest : public ServerOfOurs {};

TEST_F(GrpcioClientTest, FindsAllAsItShouldBe) {
  const std::string path = testing::TempDir() + "/grpcio-" + std::to_string(::getpid());
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 16), 0);
  std::optional<Acceptor> acceptor;
  loop.Run([&] {
    acceptor.emplace(loop.io().get_executor(), std::move(listener),
                     Acceptor::Options{.name = "test", .on_pause = {}},
                     [this](UniqueFd fd) { Serve(std::move(fd)); });
    acceptor->Start();
    return 0;
  });
  const char* const source = std::getenv("BULLA_SOURCE_DIR");
  const std::string script =
      std::string(source != nullptr ? source : ".") + "/http2/grpcio_client.py";
  // Debian's, which has the package that scripts/setup installs.
  EXPECT_EQ(std::system(("/usr/bin/python3 " + script + " unix:" + path).c_str()), 0);
  loop.Run([&] {
    acceptor.reset();
    return ::unlink(path.c_str());
  });
}

// ---- We call grpc++ -----------------------------------------------------------------------------

class GrpcppServer final : public grpc::CallbackGenericService {
 public:
  GrpcppServer() {
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(this);
    builder.SetMaxReceiveMessageSize(-1);
    server_ = builder.BuildAndStart();
  }
  ~GrpcppServer() override { server_->Shutdown(RealClock().WallNow()); }
  void Take(UniqueFd fd) { grpc::AddInsecureChannelFromFd(server_.get(), fd.Release()); }

 private:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    class Reactor final : public grpc::ServerGenericBidiReactor {
     public:
      explicit Reactor(std::string method) : method_(std::move(method)) { StartRead(&message_); }
      void OnReadDone(bool ok) override {
        if (method_ == "/test.Service/Fail") {
          return Finish({grpc::StatusCode::ABORTED, "100% \u00fc\n", "details"});
        }
        if (method_ == "/test.Service/Never") return;
        if (!ok) return Finish(grpc::Status::OK);
        StartWrite(&message_);
      }
      void OnWriteDone(bool) override { StartRead(&message_); }
      void OnCancel() override {
        if (method_ == "/test.Service/Never") Finish(grpc::Status::CANCELLED);
      }
      void OnDone() override { delete this; }

     private:
      const std::string method_;
      grpc::ByteBuffer message_;
    };
    return new Reactor(context->method());
  }
  std::unique_ptr<grpc::Server> server_;
};

class GrpcppServerTest : public testing::Test {
 protected:
  GrpcppServerTest() {
    auto [ours, theirs] = SocketPair();
    server.Take(std::move(theirs));
    connection = loop.Run([&, fd = &ours] {
      auto owned = std::make_unique<GrpcClient>(
          GrpcClient::Options{.authority = "test", .message_bytes_max = 5 * 1024 * 1024});
      client = owned.get();
      return Connection::Start(loop.io(), std::move(*fd), clock,
                               {.memory_bytes_max = 6 * 1024 * 1024}, std::move(owned));
    });
  }
  ~GrpcppServerTest() override {
    loop.Run([&] {
      connection->Close(absl::CancelledError("done"));
      return 0;
    });
  }

  GrpcStatus Call(const std::string& method, const std::string& request, std::string& reply,
                  GrpcClient::Timeout timeout = std::nullopt) {
    std::promise<GrpcStatus> done;
    loop.Run([&] {
      client->Unary(method, AsBytes(request), timeout, clock.Now(),
                    [&](const GrpcStatus& status, ByteSpan message) {
                      reply = AsText(message);
                      done.set_value(status);
                    });
      return 0;
    });
    return done.get_future().get();
  }

  RealClock clock;
  GrpcppServer server;
  Loop loop;
  GrpcClient* client = nullptr;
  std::shared_ptr<Connection> connection;
};

TEST_F(GrpcppServerTest, UnaryCallsOfEverySizeAreAnswered) {
  for (const std::size_t size : {0u, 1u, 1000u, 70'000u, 4u * 1024 * 1024}) {
    const std::string request(size, 'x');
    std::string reply;
    const GrpcStatus status = Call("/test.Service/Unary", request, reply);
    ASSERT_TRUE(status.ok()) << size << ": " << status.message;
    EXPECT_TRUE(reply == request) << size;
  }
}

TEST_F(GrpcppServerTest, ManyCallsInARowAreAnswered) {
  for (int i = 0; i < 2000; ++i) {
    std::string reply;
    const GrpcStatus status = Call("/test.Service/Unary", "x", reply);
    ASSERT_TRUE(status.ok()) << i << ": " << status.message;
  }
}

TEST_F(GrpcppServerTest, ErrorsArriveWithMessageAndDetails) {
  std::string reply;
  const GrpcStatus status = Call("/test.Service/Fail", "x", reply);
  EXPECT_EQ(status.code, absl::StatusCode::kAborted);
  EXPECT_EQ(status.message, "100% \u00fc\n");
  EXPECT_EQ(status.details, "details");
}

TEST_F(GrpcppServerTest, DeadlinesAreKept) {
  std::string reply;
  EXPECT_EQ(Call("/test.Service/Never", "x", reply, milliseconds(50)).code,
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Call("/test.Service/Unary", "x", reply).ok());
}

class Record final : public GrpcCallEvents {
 public:
  void OnMessage(ByteSpan message) override { messages.emplace_back(AsText(message)); }
  void OnWritten() override {}
  void OnDone(const GrpcStatus& status) override { done.set_value(status); }
  std::vector<std::string> messages;
  std::promise<GrpcStatus> done;
};

TEST_F(GrpcppServerTest, StreamsGoBothWays) {
  Record call;
  std::vector<std::string> messages;
  for (int i = 0; i < 1000; ++i) messages.push_back(std::string(static_cast<std::size_t>(i), 'm'));
  loop.Run([&] {
    const std::optional<StreamId> stream =
        client->Start("/test.Service/Echo", std::nullopt, clock.Now(), call);
    for (const std::string& message : messages) client->Write(*stream, AsBytes(message));
    client->EndWrites(*stream);
    return 0;
  });
  EXPECT_TRUE(call.done.get_future().get().ok());
  EXPECT_EQ(call.messages, messages);
}

}  // namespace
}  // namespace bulla::http2
