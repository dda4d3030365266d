#include "base/acceptor.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <optional>
#include <sys/resource.h>
#include <sys/socket.h>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;

// Lets this process open no more descriptors than it has.
class NoMoreDescriptors {
 public:
  NoMoreDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const UniqueFd lowest_free(::dup(0));
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(lowest_free.get());
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoMoreDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

class AcceptorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address_;
    auto* generic = reinterpret_cast<sockaddr*>(&address_);
    ASSERT_EQ(::bind(listener.get(), generic, size), 0);
    ASSERT_EQ(::listen(listener.get(), 64), 0);
    ASSERT_EQ(::getsockname(listener.get(), generic, &size), 0);
    acceptor_.emplace(io_.get_executor(), std::move(listener),
                      Acceptor::Options{.name = "test", .on_pause = [this] { ++pauses_; }},
                      [this](UniqueFd fd) { taken_.push_back(std::move(fd)); });
  }

  void Connect(int count) {
    for (int i = 0; i < count; ++i) {
      UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address_), sizeof address_), 0);
      clients_.push_back(std::move(fd));
    }
  }
  // Until so many connections are taken, for ten seconds at most.
  void RunUntilTaken(std::size_t count) {
    const MonotonicTime end = clock_.Now() + std::chrono::seconds(10);
    while (taken_.size() < count && clock_.Now() < end) {
      io_.run_one_for(milliseconds(100));
    }
    EXPECT_EQ(taken_.size(), count);
  }

  RealClock clock_;
  boost::asio::io_context io_{1};
  sockaddr_in address_{};
  std::vector<UniqueFd> clients_;
  std::vector<UniqueFd> taken_;
  int pauses_ = 0;
  std::optional<Acceptor> acceptor_;
};

TEST_F(AcceptorTest, ConnectionsAreTaken) {
  acceptor_->Start();
  Connect(3);
  RunUntilTaken(3);
  Connect(2);
  RunUntilTaken(5);
  EXPECT_EQ(pauses_, 0);
}

// Whoever spins here tries a hundred thousand times.
TEST_F(AcceptorTest, WithoutDescriptorsItPausesAndTakesThemWhenThereAreAgain) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UndefinedBehaviorSanitizer needs a descriptor to look at an object's type";
#endif
  acceptor_->Start();
  Connect(3);
  int handlers = 0;
  {
    NoMoreDescriptors none;
    const MonotonicTime end = clock_.Now() + 4 * Acceptor::kPause;
    while (clock_.Now() < end) {
      handlers += static_cast<int>(io_.run_one_until(end));
    }
  }
  EXPECT_TRUE(taken_.empty());
  EXPECT_GE(pauses_, 2);
  EXPECT_LE(handlers, 10) << "it does not wait between two tries";
  RunUntilTaken(3);
}

TEST_F(AcceptorTest, WhatWaitsCanBeTakenBeforeTheEnd) {
  Connect(3);
  acceptor_->TakeWaiting();
  EXPECT_EQ(taken_.size(), 3u);
  acceptor_->Close();
  EXPECT_NE(::connect(UniqueFd(::socket(AF_INET, SOCK_STREAM, 0)).get(),
                      reinterpret_cast<sockaddr*>(&address_), sizeof address_),
            0);
}

TEST_F(AcceptorTest, OneThatIsGoneDoesNothingMore) {
  acceptor_->Start();
  Connect(1);
  acceptor_.reset();
  io_.run();
  EXPECT_TRUE(taken_.empty());
}

}  // namespace
}  // namespace bulla
