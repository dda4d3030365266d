#include "localkms/server.h"

#include <arpa/inet.h>
#include <future>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <thread>

#include "base/fd.h"

namespace bulla {
namespace {

UniqueFd Connect(const KmsServer& server) {
  std::string address = server.address();
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  return fd;
}

void Send(const UniqueFd& fd, std::string_view text) {
  EXPECT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(text.size()));
}

// All that comes until the server closes.
std::string ReadToEnd(const UniqueFd& fd) {
  std::string out;
  char buffer[4096];
  ssize_t got;
  while ((got = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0) {
    out.append(buffer, static_cast<std::size_t>(got));
  }
  return out;
}

KmsReply Echo(const KmsRequest& request) { return {200, request.method + " " + request.target}; }

TEST(KmsServer, ListensOnLoopbackOnly) {
  for (const char* listen : {"0.0.0.0:0", "192.0.2.1:0", "[::]:0", "8.8.8.8:443"}) {
    absl::Status status = KmsServer::Start({listen, {}, 1}, Echo).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << listen << status;
    EXPECT_NE(std::string(status.message()).find("loopback"), std::string::npos) << status;
  }
  for (const char* listen : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(KmsServer::Start({listen, {}, 1}, Echo).status()))
        << listen;
  }
  EXPECT_TRUE(KmsServer::Start({"localhost:0", {}, 1}, Echo).ok());
}

TEST(KmsServer, ATakenPortIsReported) {
  auto first = *KmsServer::Start({"127.0.0.1:0", {}, 1}, Echo);
  EXPECT_TRUE(absl::IsUnavailable(KmsServer::Start({first->address(), {}, 1}, Echo).status()));
}

TEST(KmsServer, OneConnectionCarriesSeveralRequests) {
  auto server = *KmsServer::Start({"127.0.0.1:0", {}, 2}, Echo);
  UniqueFd fd = Connect(*server);
  Send(fd,
       "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  std::string replies = ReadToEnd(fd);
  EXPECT_NE(replies.find("GET /a"), std::string::npos) << replies;
  EXPECT_NE(replies.find("GET /b"), std::string::npos) << replies;
}

TEST(KmsServer, ABodyOverTheLimitIsRefusedUnread) {
  auto server = *KmsServer::Start({"127.0.0.1:0", {}, 1}, Echo);
  UniqueFd fd = Connect(*server);
  Send(fd, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n");
  EXPECT_EQ(ReadToEnd(fd).substr(0, 12), "HTTP/1.1 413");
}

TEST(KmsServer, NonsenseClosesTheConnectionAndNothingElse) {
  auto server = *KmsServer::Start({"127.0.0.1:0", {}, 1}, Echo);
  UniqueFd fd = Connect(*server);
  Send(fd, std::string("\x16\x03\x01\0\r\n\r\n", 8));
  EXPECT_EQ(ReadToEnd(fd), "");
  UniqueFd other = Connect(*server);
  Send(other, "GET / HTTP/1.0\r\n\r\n");
  EXPECT_NE(ReadToEnd(other).find("200 OK"), std::string::npos);
}

TEST(KmsServer, ARequestUnderWayIsAnsweredBeforeTheServerStops) {
  std::promise<void> arrived;
  std::promise<void> go;
  auto server = *KmsServer::Start({"127.0.0.1:0", {}, 1}, [&](const KmsRequest&) {
    arrived.set_value();
    go.get_future().wait();
    return KmsReply{200, "answered"};
  });
  UniqueFd idle = Connect(*server);
  UniqueFd busy = Connect(*server);
  Send(busy, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  arrived.get_future().wait();
  std::thread stopper([&] { server->Stop(); });
  go.set_value();
  EXPECT_NE(ReadToEnd(busy).find("answered"), std::string::npos);
  EXPECT_EQ(ReadToEnd(idle), "");
  stopper.join();
}

}  // namespace
}  // namespace bulla
