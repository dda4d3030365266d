#include "wire/address.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/fakes/accept.h"

namespace bulla {
namespace {

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/bulla-address-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

TEST(Address, WaysOfWritingOneAddressHaveOneText) {
  EXPECT_EQ(Address::Parse("tcp:localhost:07000")->ToString(), "tcp:127.0.0.1:7000");
  EXPECT_EQ(Address::Parse("tcp:[0::1]:7000")->ToString(), "tcp:[::1]:7000");
  EXPECT_EQ(Address::Parse("vsock:016:07000")->ToString(), "vsock:16:7000");
}

TEST(Address, EachFormKeepsItsText) {
  for (const char* text : {"vsock:16:7000", "vsock:4294967295:1", "unix:/run/e1.sock",
                           "tcp:127.0.0.1:7000", "tcp:127.0.0.1:0", "tcp:[::1]:7000"}) {
    absl::StatusOr<Address> address = Address::Parse(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ToString(), text);
  }
}

TEST(Address, AnythingElseIsRefusedByName) {
  std::string long_path = "unix:/" + std::string(107, 'x');
  for (const std::string& text :
       {std::string(""), std::string("vsock"), std::string("vsock:16"), std::string("vsock:-1:7"),
        std::string("vsock:16:7:9"), std::string("vsock:a:1"), std::string("tcp:::1:1"),
        std::string("tcp:kms.internal:1"), std::string("tcp:127.0.0.1:65536"),
        std::string("tcp:127.0.0.1:"), std::string("unix:"), std::string("unix:/a\0b", 9),
        std::string("udp:127.0.0.1:1"), long_path}) {
    EXPECT_EQ(Address::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_TRUE(Address::Parse(long_path.substr(0, 5 + 107)).ok()) << "the longest path that fits";
}

TEST(Address, TcpLeadsToLoopbackAlone) {
  for (const char* text : {"tcp:10.0.0.1:7000", "tcp:0.0.0.0:7000", "tcp:128.0.0.1:1"}) {
    absl::Status refused = Address::Parse(text).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_NE(std::string(refused.message()).find("with a loopback address"), std::string::npos)
        << refused;
  }
  EXPECT_TRUE(Address::Parse("tcp:127.9.9.9:7000").ok());
}

TEST(Address, ProductionTakesVsockAlone) {
  for (const char* text : {"vsock:16:7000", "unix:/run/e1.sock", "tcp:127.0.0.1:7000"}) {
    const Address address = *Address::Parse(text);
    EXPECT_TRUE(CheckAddressOn("simulated", address).ok()) << text;
    EXPECT_EQ(CheckAddressOn("nitro", address).ok(), address.family() == AF_VSOCK) << text;
  }
}

TEST(Address, DialReachesTheListener) {
  TempDir dir;
  Address address = *Address::Parse("unix:" + dir.File("s"));
  UniqueFd listener = *Listen(address);
  UniqueFd wake(::eventfd(0, 0));
  UniqueFd client = *DialBlocking(address, std::chrono::seconds(1));
  UniqueFd server = AcceptBlocking(listener.get(), wake.get());
  ASSERT_TRUE(server.valid());
  ASSERT_EQ(::write(client.get(), "x", 1), 1);
  char byte = 0;
  ASSERT_EQ(::read(server.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST(Address, ALeftOverSocketIsReplacedAndALiveOneIsNot) {
  TempDir dir;
  Address address = *Address::Parse("unix:" + dir.File("s"));
  { UniqueFd dead = *Listen(address); }
  absl::StatusOr<UniqueFd> alive = Listen(address);
  ASSERT_TRUE(alive.ok()) << alive.status();
  EXPECT_EQ(Listen(address).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST(Address, OthersCannotConnectToAUnixSocketFromItsFirstMoment) {
  TempDir dir;
  const Address address = *Address::Parse("unix:" + dir.File("s"));
  const mode_t before = ::umask(0);
  absl::StatusOr<UniqueFd> listener = Listen(address);
  ::umask(before);
  ASSERT_TRUE(listener.ok()) << listener.status();
  struct stat info {};
  ASSERT_EQ(::stat(dir.File("s").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(Address, WhatIsNoSocketOfOursIsNotReplaced) {
  TempDir dir;
  const std::string file = dir.File("f");
  std::ofstream(file) << "text";
  EXPECT_EQ(Listen(*Address::Parse("unix:" + file)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(std::filesystem::is_regular_file(file));
  const std::string link = dir.File("l");
  std::filesystem::create_symlink(file, link);
  EXPECT_FALSE(Listen(*Address::Parse("unix:" + link)).ok());
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  if (::geteuid() != 0) return;  // only root can give a socket away
  const std::string socket = dir.File("s");
  { UniqueFd dead = *Listen(*Address::Parse("unix:" + socket)); }
  ASSERT_EQ(::chown(socket.c_str(), 65534, 65534), 0);
  EXPECT_EQ(Listen(*Address::Parse("unix:" + socket)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(std::filesystem::is_socket(socket));
}

// It does not accept, so soon it answers EAGAIN, and it lives all the same.
TEST(Address, AListenerWithAFullBacklogIsNotReplaced) {
  TempDir dir;
  const Address address = *Address::Parse("unix:" + dir.File("s"));
  UniqueFd listener = *Listen(address);
  std::vector<UniqueFd> waiting;
  absl::StatusOr<UniqueFd> more = DialBlocking(address, std::chrono::milliseconds(10));
  while (more.ok() && waiting.size() < 10'000) {
    waiting.push_back(*std::move(more));
    more = DialBlocking(address, std::chrono::milliseconds(10));
  }
  ASSERT_FALSE(more.ok()) << "the backlog has no end";
  EXPECT_EQ(Listen(address).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST(Address, DialingNobodyIsUnavailable) {
  TempDir dir;
  Address address = *Address::Parse("unix:" + dir.File("none"));
  EXPECT_EQ(DialBlocking(address, std::chrono::seconds(1)).status().code(),
            absl::StatusCode::kUnavailable);
}

// The transport of production. Runs where the kernel has vsock_loopback; says so where it has not.
TEST(Address, VsockLoopbackCarriesBytes) {
  absl::StatusOr<UniqueFd> listener = Listen(*Address::Parse("vsock:4294967295:27412"));
  if (!listener.ok()) GTEST_SKIP() << "no vsock here: " << listener.status();
  absl::StatusOr<UniqueFd> client =
      DialBlocking(*Address::Parse("vsock:1:27412"), std::chrono::seconds(1));
  if (!client.ok()) GTEST_SKIP() << "no vsock loopback here: " << client.status();
  UniqueFd wake(::eventfd(0, 0));
  UniqueFd server = AcceptBlocking(listener->get(), wake.get());
  ASSERT_TRUE(server.valid());
  ASSERT_EQ(::write(client->get(), "x", 1), 1);
  char byte = 0;
  ASSERT_EQ(::read(server.get(), &byte, 1), 1);
}

}  // namespace
}  // namespace bulla
