#include "wire/address.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>

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

TEST(Address, DialingNobodyIsUnavailable) {
  TempDir dir;
  Address address = *Address::Parse("unix:" + dir.File("none"));
  EXPECT_EQ(DialBlocking(address, std::chrono::seconds(1)).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(Address, AWaitingAcceptCanBeWoken) {
  TempDir dir;
  UniqueFd listener = *Listen(*Address::Parse("unix:" + dir.File("s")));
  UniqueFd wake(::eventfd(0, 0));
  std::thread waker([&] {
    std::uint64_t one = 1;
    ASSERT_EQ(::write(wake.get(), &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  });
  EXPECT_FALSE(AcceptBlocking(listener.get(), wake.get()).valid());
  waker.join();
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
