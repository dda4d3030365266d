#include "gateway/unlock/kms_forwarder.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

#include <poll.h>

#include "tests/fakes/accept.h"

namespace bulla {
namespace {

// Blocks until `count` bytes are there; fewer when the other side ended.
std::string Receive(int fd, std::size_t count) {
  std::string text;
  char chunk[4096];
  while (text.size() < count) {
    pollfd poll_fd{fd, POLLIN, 0};
    ::poll(&poll_fd, 1, -1);
    ssize_t got = ::read(fd, chunk, std::min(sizeof(chunk), count - text.size()));
    if (got <= 0) break;
    text.append(chunk, static_cast<std::size_t>(got));
  }
  return text;
}

void Send(int fd, const std::string& text) {
  for (std::size_t sent = 0; sent < text.size();) {
    pollfd poll_fd{fd, POLLOUT, 0};
    ::poll(&poll_fd, 1, -1);
    ssize_t wrote = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (wrote > 0) sent += static_cast<std::size_t>(wrote);
  }
}

// A forwarder between a Unix socket and a listener that plays KMS.
class KmsForwarderTest : public testing::Test {
 protected:
  KmsForwarderTest() {
    char name[] = "/tmp/bulla-forwarder-XXXXXX";
    dir_ = ::mkdtemp(name);
    address_ = *Address::Parse("unix:" + dir_ + "/s");
    kms_listener_ = *Listen(*Address::Parse("tcp:127.0.0.1:0"));
    sockaddr_in bound{};
    socklen_t size = sizeof(bound);
    ::getsockname(kms_listener_.get(), reinterpret_cast<sockaddr*>(&bound), &size);
    port_ = std::to_string(ntohs(bound.sin_port));
  }
  ~KmsForwarderTest() override { std::filesystem::remove_all(dir_); }

  void StartForwarder() {
    absl::StatusOr<std::unique_ptr<KmsForwarder>> started =
        KmsForwarder::Start({address_, "127.0.0.1", port_});
    ASSERT_TRUE(started.ok()) << started.status();
    forwarder_ = *std::move(started);
  }
  UniqueFd Dial() { return *DialBlocking(address_, std::chrono::seconds(5)); }
  UniqueFd AcceptAsKms() { return AcceptBlocking(kms_listener_.get(), -1); }

  std::string dir_;
  Address address_;
  UniqueFd kms_listener_;
  std::string port_;
  std::unique_ptr<KmsForwarder> forwarder_;
};

TEST_F(KmsForwarderTest, BytesArriveUnchangedInBothDirections) {
  StartForwarder();
  UniqueFd enclave = Dial();
  UniqueFd kms = AcceptAsKms();
  std::string question(100'000, 'q');
  std::string answer(300'000, 'a');
  for (std::size_t i = 0; i < answer.size(); i += 7) answer[i] = static_cast<char>(i);
  Send(enclave.get(), question);
  EXPECT_EQ(Receive(kms.get(), question.size()), question);
  Send(kms.get(), answer);
  EXPECT_EQ(Receive(enclave.get(), answer.size()), answer);
}

TEST_F(KmsForwarderTest, EitherSideEndsTheConnection) {
  StartForwarder();
  {
    UniqueFd enclave = Dial();
    UniqueFd kms = AcceptAsKms();
    kms.Reset();
    EXPECT_EQ(Receive(enclave.get(), 1), "");
  }
  UniqueFd enclave = Dial();
  UniqueFd kms = AcceptAsKms();
  enclave.Reset();
  EXPECT_EQ(Receive(kms.get(), 1), "");
}

TEST_F(KmsForwarderTest, WithNobodyThereTheEnclaveLearnsItAtOnce) {
  kms_listener_.Reset();
  StartForwarder();
  UniqueFd enclave = Dial();
  EXPECT_EQ(Receive(enclave.get(), 1), "");
}

TEST_F(KmsForwarderTest, StoppingEndsEveryConnection) {
  StartForwarder();
  UniqueFd enclave = Dial();
  UniqueFd kms = AcceptAsKms();
  forwarder_.reset();
  EXPECT_EQ(Receive(enclave.get(), 1), "");
  EXPECT_EQ(Receive(kms.get(), 1), "");
}

}  // namespace
}  // namespace bulla
