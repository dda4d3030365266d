#include "http2/connection.h"

#include <array>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <string>
#include <sys/socket.h>

#include <boost/asio/io_context.hpp>

#include "http2/grpc_client.h"
#include "http2/grpc_server.h"
#include "http2/limits.h"
#include "tests/fakes/http2_frames.h"

namespace bulla::http2 {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
namespace frames = http2_frames;

std::array<UniqueFd, 2> SocketPair() {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// A server that echoes unary calls, and whatever a test wants of its other end.
class ConnectionTest : public testing::Test {
 protected:
  ConnectionTest() {
    methods.AddUnary("/test.Service/Unary",
                     [](GrpcServer& grpc, const GrpcRequest& request, ByteSpan message) {
                       grpc.Answer(request.stream, message);
                     });
  }

  std::shared_ptr<Connection> StartServer(UniqueFd fd, Session::Options options = {}) {
    options.role = Session::Role::kServer;
    return Connection::Start(io, std::move(fd), clock, options,
                             std::make_unique<GrpcServer>(GrpcServer::Options{}, methods));
  }
  std::pair<std::shared_ptr<Connection>, GrpcClient*> StartClient(UniqueFd fd,
                                                                  Session::Options options = {}) {
    auto client = std::make_unique<GrpcClient>(GrpcClient::Options{.authority = "test"});
    GrpcClient* const raw = client.get();
    return {Connection::Start(io, std::move(fd), clock, options, std::move(client)), raw};
  }
  template <typename Condition>
  void RunUntil(Condition condition) {
    const MonotonicTime end = clock.Now() + seconds(20);
    while (!condition() && clock.Now() < end) io.run_one_for(milliseconds(100));
    EXPECT_TRUE(condition());
  }
  // Reads what there is, or waits for it while the loop runs. Empty: the other end has closed.
  std::string Read(const UniqueFd& fd) {
    char bytes[4096];
    ssize_t size = -1;
    RunUntil([&] {
      if (size < 0) size = ::recv(fd.get(), bytes, sizeof bytes, 0);
      return size >= 0 || errno != EAGAIN;
    });
    return size > 0 ? std::string(bytes, static_cast<std::size_t>(size)) : "";
  }

  RealClock clock;
  boost::asio::io_context io{1};
  GrpcMethods methods;
};

TEST_F(ConnectionTest, CarriesACallAndItsAnswer) {
  auto [server_fd, client_fd] = SocketPair();
  const auto server = StartServer(std::move(server_fd));
  const auto [connection, client] = StartClient(std::move(client_fd));
  std::string answer;
  const std::string large(3'000'000, 'x');  // more than the kernel takes at once
  client->Unary("/test.Service/Unary", AsBytes(large), std::nullopt, clock.Now(),
                [&](const GrpcStatus& status, ByteSpan reply) {
                  EXPECT_TRUE(status.ok()) << status.message;
                  answer = AsText(reply);
                });
  RunUntil([&] { return !answer.empty(); });
  EXPECT_EQ(answer, large);
  connection->Close(absl::CancelledError("done"));
  RunUntil([&, held = connection] { return server->closed() && held->closed(); });
}

TEST_F(ConnectionTest, ThatIsLostEndsItsCalls) {
  auto [other, client_fd] = SocketPair();
  const auto [connection, client] = StartClient(std::move(client_fd));
  std::optional<GrpcStatus> ended;
  client->Unary("/test.Service/Unary", AsBytes("x"), std::nullopt, clock.Now(),
                [&](const GrpcStatus& status, ByteSpan) { ended = status; });
  EXPECT_FALSE(Read(other).empty());
  other.Reset();
  RunUntil([&] { return ended.has_value(); });
  EXPECT_EQ(ended->code, absl::StatusCode::kUnavailable);
  EXPECT_TRUE(connection->closed());
  ended.reset();
  client->Unary("/test.Service/Unary", AsBytes("x"), std::nullopt, clock.Now(),
                [&](const GrpcStatus& status, ByteSpan) { ended = status; });
  ASSERT_TRUE(ended) << "one that comes later, too, and at once";
  EXPECT_EQ(ended->code, absl::StatusCode::kUnavailable);
}

TEST_F(ConnectionTest, DeadlinesEndCallsWithoutTraffic) {
  auto [other, client_fd] = SocketPair();
  const auto [connection, client] = StartClient(std::move(client_fd));
  std::optional<GrpcStatus> ended;
  client->Unary("/test.Service/Unary", AsBytes("x"), milliseconds(30), clock.Now(),
                [&](const GrpcStatus& status, ByteSpan) { ended = status; });
  RunUntil([&] { return ended.has_value(); });
  EXPECT_EQ(ended->code, absl::StatusCode::kDeadlineExceeded);
  connection->Close({});
  io.run();
}

TEST_F(ConnectionTest, APeerThatAnswersNoPingIsGivenUp) {
  auto [other, client_fd] = SocketPair();
  const auto [connection, client] =
      StartClient(std::move(client_fd),
                  {.keepalive_interval = milliseconds(20), .keepalive_timeout = milliseconds(20)});
  RunUntil([&, held = connection] { return held->closed(); });
}

TEST_F(ConnectionTest, IsClosedWhenItsPeerBreaksTheProtocol) {
  auto [server_fd, other] = SocketPair();
  const auto server = StartServer(std::move(server_fd));
  const std::string bad = frames::Hello() + frames::Data(0, "on no stream");
  ASSERT_EQ(::send(other.get(), bad.data(), bad.size(), 0), static_cast<ssize_t>(bad.size()));
  std::string said;
  for (std::string part; !(part = Read(other)).empty();) said += part;
  EXPECT_TRUE(server->closed());
  bool told = false;
  for (const auto& frame : frames::Parse(said)) told |= frame.type == frames::kGoAway;
  EXPECT_TRUE(told);
}

// A worker that has an answer when the loop is gone: its call is gone too, and nothing is posted.
TEST_F(ConnectionTest, AnswersFromOtherThreadsMayOutliveTheLoop) {
  auto [server_fd, client_fd] = SocketPair();
  GrpcServer::Later later;
  int answered = 0;
  methods.AddUnary("/test.Service/Later", [&](GrpcServer& server, const GrpcRequest&, ByteSpan) {
    later = server.later();
  });
  auto loop = std::make_unique<boost::asio::io_context>(1);
  auto grpc = std::make_unique<GrpcServer>(GrpcServer::Options{}, methods);
  std::weak_ptr<Connection> server = Connection::Start(
      *loop, std::move(server_fd), clock, {.role = Session::Role::kServer}, std::move(grpc));
  const auto [connection, client] = StartClient(std::move(client_fd));
  client->Unary("/test.Service/Later", AsBytes("x"), std::nullopt, clock.Now(),
                [](const GrpcStatus&, ByteSpan) {});
  const MonotonicTime end = clock.Now() + seconds(20);
  while (!later && clock.Now() < end) {
    io.poll();
    loop->poll();
  }
  ASSERT_TRUE(later);
  later([&](GrpcServer&) { ++answered; });
  loop->poll();
  EXPECT_EQ(answered, 1);
  server.lock()->Abort(absl::CancelledError("stopping"));
  loop.reset();
  later([&](GrpcServer&) { ++answered; });
  EXPECT_EQ(answered, 1);
  EXPECT_TRUE(server.expired());
  connection->Close({});
  io.run();
}

// Whoever asks and does not read is not listened to: what he makes us keep is bounded by what the
// kernel holds, a turn's gathering and the streams' memory.
TEST_F(ConnectionTest, APeerThatDoesNotReadIsNotListenedTo) {
  auto [server_fd, other] = SocketPair();
  const auto server = StartServer(std::move(server_fd));
  std::string message;
  AppendGrpcMessage(AsBytes(std::string(10'000, 'x')), message);
  std::string ask = frames::Hello();
  std::size_t sent = 0;
  int stream = -1;
  int idle_turns = 0;
  std::size_t total = 0;
  while (idle_turns < 1000 && total < 50'000'000) {
    if (sent == ask.size()) {
      stream += 2;
      ask = frames::Headers(stream, frames::RequestFields()) + frames::Data(stream, message, true) +
            frames::WindowUpdate(0, 20'000);
      sent = 0;
    }
    const ssize_t part =
        ::send(other.get(), ask.data() + sent, ask.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (part > 0) {
      sent += static_cast<std::size_t>(part);
      total += static_cast<std::size_t>(part);
    }
    idle_turns = part > 0 || io.poll() > 0 ? 0 : idle_turns + 1;
  }
  EXPECT_LT(total, 5'000'000u);
  EXPECT_FALSE(server->closed());
}

}  // namespace
}  // namespace bulla::http2
