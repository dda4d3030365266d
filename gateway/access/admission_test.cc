#include "gateway/access/admission.h"

#include <deque>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>
#include <thread>
#include <vector>

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kPatience = seconds(1);

ClientAddress V4(std::uint8_t last) { return ClientOf(MappedV4({10, 0, 0, last})); }

class AdmissionTest : public testing::Test {
 protected:
  // As the ticker does, `ticks` times.
  void Tick(int ticks = 1) {
    for (int i = 0; i < ticks; ++i) {
      now_ += Admission::kTick;
      admission_.Tick(now_, enclaves_);
    }
  }
  void SetLimit(std::size_t limit) {
    enclaves_.in_flight_max = limit;
    Tick();
  }
  std::size_t Admit(const Client& client, std::size_t asked = 1) {
    return admission_.Admit(client, asked, kPatience);
  }
  double Refusals(const std::string& reason) {
    const std::string name =
        fmt::format("bulla_gateway_admission_refusals_total{{reason=\"{}\"}} ", reason);
    const std::string text = metrics_.Exposition();
    const std::size_t at = text.find(name);
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size()));
  }

  Metrics metrics_;
  Clients clients_;
  Admission::Settings settings_{.in_flight_max = 1000};
  Admission admission_{settings_, clients_, metrics_};
  Admission::Enclaves enclaves_;
  MonotonicTime now_{std::chrono::hours(1)};
};

TEST_F(AdmissionTest, OneClientAloneMayUseAllOfIt) {
  SetLimit(100);
  Client client(clients_, V4(1));
  EXPECT_EQ(Admit(client, 99), 99u);
  EXPECT_EQ(Admit(client, 1), 1u);
  EXPECT_EQ(Admit(client, 1), 0u);
  EXPECT_EQ(Refusals("limit"), 1);
  admission_.Release(client, 1);
  EXPECT_EQ(Admit(client, 2), 1u) << "what there is room for";
  EXPECT_EQ(admission_.in_flight(), 100u);
  EXPECT_EQ(Refusals("fairness"), 0);
}

TEST_F(AdmissionTest, ASecondClientGetsItsHalfAtOnceWhateverTheFirstHas) {
  SetLimit(100);
  Client greedy(clients_, V4(1));
  Client second(clients_, V4(2));
  ASSERT_EQ(Admit(greedy, 200), 100u);
  EXPECT_EQ(Admit(second, 60), 50u);
  EXPECT_EQ(Refusals("fairness"), 10);
  admission_.Release(greedy, 40);
  EXPECT_EQ(Admit(greedy), 0u) << "it has 60, its share is 50";
  EXPECT_EQ(Refusals("fairness"), 11);
  admission_.Release(greedy, 11);
  EXPECT_EQ(Admit(greedy), 1u);
  admission_.Release(second, 50);
  EXPECT_EQ(Admit(greedy), 0u) << "all is over the mark, and the second will want its half again";
}

TEST_F(AdmissionTest, WhatOthersDoNotAskForIsForWhoAsks) {
  SetLimit(100);
  Client greedy(clients_, V4(1));
  Client modest(clients_, V4(2));
  ASSERT_EQ(Admit(modest), 1u);
  EXPECT_EQ(Admit(greedy, 200), 50u) << "its share";
  Tick(125);  // the modest one has asked for nothing since
  EXPECT_EQ(Admit(greedy, 200), 50u);
}

TEST_F(AdmissionTest, BelowTheMarkEverybodyIsLetIn) {
  SetLimit(100);
  std::vector<Client> clients;
  for (std::uint8_t i = 0; i < 10; ++i) clients.emplace_back(clients_, V4(i));
  for (const Client& client : clients) ASSERT_EQ(Admit(client), 1u);
  EXPECT_EQ(Admit(clients[0], 40), 40u) << "four times its share, and all is 50 of 100";
  EXPECT_EQ(Admit(clients[0]), 0u);
  EXPECT_EQ(Admit(clients[1], 20), 9u);
}

TEST_F(AdmissionTest, WhoIsBelowItsShareIsNeverRefused) {
  SetLimit(90);
  Client small(clients_, V4(1));
  Client big(clients_, V4(2));
  Client other(clients_, V4(3));
  for (int round = 0; round < 1000; ++round) {
    Admit(big, 50);
    Admit(other, 50);
    ASSERT_EQ(Admit(small, 30), 30u) << round;
    admission_.Release(small, 30);
    if (round % 7 == 0) admission_.Release(big, 1);
    if (round % 20 == 0) Tick();
  }
}

TEST_F(AdmissionTest, ConnectionsOfOneClientShareItsShare) {
  SetLimit(100);
  Client first(clients_, V4(1));
  Client second(clients_, V4(1));
  std::optional<Client> third(std::in_place, clients_, V4(1));
  Client other(clients_, V4(2));
  ASSERT_EQ(Admit(other), 1u);
  EXPECT_EQ(Admit(first, 30) + Admit(second, 30) + Admit(*third, 30), 50u);
  admission_.Release(*third, 0);
  third.reset();
  EXPECT_EQ(Admit(first), 0u) << "the account stays while somebody holds it";
}

TEST_F(AdmissionTest, ManyClientsGetOneEachWhateverTheLimit) {
  SetLimit(10);
  std::vector<Client> clients;
  for (std::uint8_t i = 0; i < 100; ++i) clients.emplace_back(clients_, V4(i));
  for (const Client& client : clients) EXPECT_EQ(Admit(client, 11) > 0, true);
}

TEST_F(AdmissionTest, NothingPassesTheConfiguredMaximum) {
  SetLimit(5000);
  Client first(clients_, V4(1));
  Client second(clients_, V4(2));
  EXPECT_EQ(Admit(first, 900), 900u);
  EXPECT_EQ(Admit(second, 900), 100u);
  EXPECT_EQ(Admit(second), 0u);
}

TEST_F(AdmissionTest, WithoutEnclavesTheLimitStays) {
  SetLimit(100);
  SetLimit(0);
  Client client(clients_, V4(1));
  EXPECT_EQ(Admit(client, 1000), 100u) << "the router says what is the matter";
}

TEST_F(AdmissionTest, WhatCannotBeAnsweredInTimeIsRefusedAtOnce) {
  Client client(clients_, V4(1));
  EXPECT_EQ(admission_.Admit(client, 1, milliseconds(1)), 1u) << "nothing is known yet";
  EXPECT_EQ(admission_.Admit(client, 1, milliseconds(0)), 0u);
  EXPECT_EQ(admission_.Admit(client, 1, milliseconds(-5)), 0u);
  for (int i = 0; i < 20; ++i) {
    admission_.OnAnswered(milliseconds(15));
    admission_.OnAnswered(milliseconds(25));
    Tick();
  }
  EXPECT_EQ(admission_.Admit(client, 3, milliseconds(19)), 0u);
  EXPECT_EQ(admission_.Admit(client, 3, milliseconds(21)), 3u);
  EXPECT_EQ(Refusals("deadline"), 5);
  EXPECT_EQ(admission_.in_flight(), 4u);
  Tick(5);
  EXPECT_EQ(admission_.Admit(client, 1, milliseconds(1)), 1u) << "quiet: it is tried again";
}

TEST_F(AdmissionTest, RefusalsOfTheLinksAreCountedToo) {
  enclaves_.refused = 7;
  Tick(2);
  enclaves_.refused = 9;
  Tick();
  EXPECT_EQ(Refusals("enclave_limit"), 9);
}

TEST_F(AdmissionTest, GaugesSayWhatIsThereAndWhatMayBe) {
  SetLimit(100);
  Client client(clients_, V4(1));
  Admit(client, 42);
  Tick();
  EXPECT_THAT(metrics_.Exposition(), testing::HasSubstr("\nbulla_gateway_in_flight 42\n"));
  EXPECT_THAT(metrics_.Exposition(), testing::HasSubstr("\nbulla_gateway_in_flight_max 100\n"));
}

TEST_F(AdmissionTest, ManyThreadsNeverPassTheLimitAndLeaveNothingBehind) {
  SetLimit(64);
  Client client(clients_, V4(1));  // alone: the limit is the limit
  std::atomic<std::size_t> inside{0};
  std::atomic<std::size_t> most{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        const std::size_t admitted = Admit(client, 20);
        const std::size_t now = inside.fetch_add(admitted) + admitted;
        if (now > most) most = now;
        std::this_thread::yield();
        inside.fetch_sub(admitted);
        admission_.Release(client, admitted);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 64u);
  EXPECT_EQ(admission_.in_flight(), 0u);
  EXPECT_EQ(Admit(client, 100), 64u);
}

TEST(ClientAddress, AnIpv6ClientIsItsNetworkAndAnIpv4OneItsAddress) {
  const auto of = [](const char* address) { return ClientOf(*ParseIpAddress(address)); };
  EXPECT_EQ(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::9"));
  EXPECT_NE(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
  EXPECT_NE(of("2001:db8:1:2::3"), ClientAddress{});
  EXPECT_EQ(of("::ffff:127.0.0.2"), of("127.0.0.2"));
  EXPECT_NE(of("127.0.0.1"), of("127.0.0.2"));
}

// As callers of unary gRPC do, and requests behind a proxy.
TEST_F(AdmissionTest, WhoComesBackForEachCallIsOneClient) {
  SetLimit(100);
  for (int second = 0; second < 3; ++second) {
    for (int i = 0; i < 50; ++i) {
      Client client(clients_, V4(1));
      ASSERT_EQ(Admit(client), 1u);
      admission_.Release(client, 1);
    }
    now_ += seconds(1);
    Tick();
    EXPECT_THAT(metrics_.Exposition(), testing::HasSubstr("\nbulla_gateway_clients 1\n"));
  }
}

// ---- Creates and look-ups --------------------------------------------------------------------

class CreatesTest : public AdmissionTest {
 protected:
  // As many creates as are let in, at most `asked`.
  std::size_t Create(std::size_t asked = 10'000) {
    std::size_t count = 0;
    while (count < asked) {
      std::optional<Admission::Pass> pass = admission_.AdmitCreate(client_, kPatience);
      if (!pass) break;
      passes_.push_back(*std::move(pass));
      ++count;
    }
    return count;
  }
  // A tick in which signatures took so long.
  void TickWith(Duration latency, int ticks = 1) {
    for (int i = 0; i < ticks; ++i) {
      admission_.OnAnswered(latency);
      Tick();
    }
  }

  Client client_{clients_, V4(1)};
  std::vector<Admission::Pass> passes_;
};

TEST_F(CreatesTest, ACreateCountsAsTheSignaturesThatItCostsUntilItIsDone) {
  SetLimit(1000);
  EXPECT_EQ(Create(2), 2u);
  EXPECT_EQ(admission_.in_flight(), 2 * Admission::kCreateCost);
  {
    std::optional<Admission::Pass> look_up = admission_.AdmitLookUp(client_);
    ASSERT_TRUE(look_up);
    EXPECT_EQ(admission_.in_flight(), 2 * Admission::kCreateCost + 1);
  }
  Admission::Pass moved = std::move(passes_.back());
  passes_.clear();
  EXPECT_EQ(admission_.in_flight(), Admission::kCreateCost);
  moved.Return();
  moved.Return();
  EXPECT_EQ(admission_.in_flight(), 0u);
}

TEST_F(CreatesTest, HoweverManyAreAskedForThreeQuartersAreLeftForSignatures) {
  SetLimit(800);
  const std::size_t creates = Create();
  EXPECT_EQ(creates * Admission::kCreateCost, 200u);
  EXPECT_EQ(Refusals("creates"), static_cast<double>(Admission::kCreateCost));
  EXPECT_EQ(Admit(client_, 600), 600u);
}

TEST_F(CreatesTest, TheyGiveWayWhileSignaturesAreSlowAndComeBackWhenTheyAreNot) {
  SetLimit(1000);
  const std::size_t usual = Create();
  passes_.clear();
  EXPECT_GT(usual, 20u);
  TickWith(milliseconds(20), 10);
  EXPECT_EQ(Create(), Admission::kCreatesMin) << "some keys are made all the same";
  passes_.clear();
  TickWith(milliseconds(1), 50);
  EXPECT_EQ(Create(), usual);
}

TEST_F(CreatesTest, ASlowSignatureNowAndThenIsNoQueueForThemToGiveWayTo) {
  SetLimit(1000);
  const std::size_t usual = Create();
  passes_.clear();
  for (int i = 0; i < 20; ++i) {
    TickWith(std::chrono::seconds(1), Admission::kSlowTicksAside - 1);  // a data key is unlocked
    EXPECT_EQ(Create(), usual);
    passes_.clear();
    TickWith(std::chrono::microseconds(100));
  }
}

TEST_F(CreatesTest, WhereNobodySignsTheyHaveTheirWholePart) {
  SetLimit(1000);
  const std::size_t usual = Create();
  passes_.clear();
  TickWith(milliseconds(20), 10);
  Tick(50);
  EXPECT_EQ(Create(), usual);
}

TEST_F(CreatesTest, TheSmallestBoundLetsOneIn) {
  SetLimit(1);
  EXPECT_EQ(Create(1), 1u);
  EXPECT_FALSE(admission_.AdmitLookUp(client_));
  passes_.clear();
  EXPECT_TRUE(admission_.AdmitLookUp(client_));
}

// A queue before one worker, as an enclave has it: signatures ask for half of what it can do, and
// creates for all that they are given. Without a bound each signature would wait behind all of
// them.
TEST_F(CreatesTest, AFloodOfThemPutsASignatureOffByTheWorkOfAFew) {
  constexpr Duration kSign = std::chrono::microseconds(50);
  constexpr Duration kCreate = Admission::kCreateCost * kSign;
  SetLimit(800);
  Duration asked{};  // work that the worker was given so far, and what it has done of it
  Duration done{};
  Duration worst{};
  std::deque<std::pair<Duration, Admission::Pass>> creates;  // with what has to be done by then
  for (int tick = 0; tick < 500; ++tick) {
    done = std::min(asked, done + Admission::kTick / 2);  // the other half is the signatures'
    while (!creates.empty() && creates.front().first <= done) creates.pop_front();
    while (std::optional<Admission::Pass> pass = admission_.AdmitCreate(client_, kPatience)) {
      asked += kCreate;
      creates.emplace_back(asked, *std::move(pass));
    }
    const Duration latency = asked - done + kSign;
    worst = std::max(worst, latency);
    admission_.OnAnswered(latency);
    Tick();
  }
  EXPECT_LT(worst, milliseconds(15));
}

}  // namespace
}  // namespace bulla
