// Does any order of faults make the gateway leave a signature without an answer, answer it twice or
// late, send more than the retry budget allows, or keep away from enclaves that are well again?
// Callers, the gateway's rules as they are wired (gateway_model.h) and enclaves that are killed,
// frozen, slowed, garbling or forgetful (enclave_model.h) live through hours here. Time and chance
// come from one seed. What is not here: threads, sockets, the store, crypto.

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "tests/simulation/gateway_model.h"

namespace bulla {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kService = microseconds(250);
constexpr double kCapacity = 4000;  // of one enclave: signatures a second
constexpr Duration kDeadline = milliseconds(500);
constexpr std::size_t kRandomEnclaves = 4;
// A step here costs less than one of key_life_test.
constexpr std::uint64_t kStepsPerKeyLifeStep = 5;

double InMs(Duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

struct Tally {
  std::uint64_t answered() const {
    std::uint64_t sum = 0;
    for (std::uint64_t count : by_error) sum += count;
    return sum;
  }
  std::uint64_t of(ErrorCode error) const { return by_error[static_cast<std::size_t>(error)]; }
  double Share(ErrorCode error) const {
    return static_cast<double>(of(error)) /
           static_cast<double>(std::max<std::uint64_t>(answered(), 1));
  }
  double Errors() const { return answered() == 0 ? 0 : 1 - Share(ErrorCode::kOk); }

  std::array<std::uint64_t, kErrorCodeCount> by_error{};
  // Of those that were signed.
  Duration Mean() const {
    return latencies / static_cast<Duration::rep>(std::max<std::uint64_t>(of(ErrorCode::kOk), 1));
  }
  Duration latencies{};
  Duration slowest{};
};

class Simulation final : private CompletionSink {
 public:
  Simulation(std::uint64_t seed, std::size_t enclaves) : world_(seed) {
    for (std::size_t i = 0; i < enclaves; ++i) AddEnclave();
    Run(seconds(1));  // all connect
    Sweep();
  }

  EnclaveModel& enclave(std::size_t i) { return *enclaves_[i]; }
  GatewayModel& gateway() { return gateway_; }
  World& world() { return world_; }
  Keys& keys() { return keys_; }

  void AddEnclave() {
    const std::string name = fmt::format("enclave-{}", enclaves_.size());
    enclaves_.push_back(std::make_unique<EnclaveModel>(world_, keys_, name, kService));
    gateway_.Add(*enclaves_.back(), HashRing::kFullWeight);
  }
  void Kill(std::size_t i) {
    enclave(i).Kill();
    gateway_.OnKilled(enclave(i).name());
  }

  void Run(Duration time) { world_.RunUntil(world_.now + time); }
  // Signatures a second from now on, as independent callers ask for them.
  void Load(double rate) {
    rate_ = rate;
    ++load_;
    PlanArrival(load_);
  }
  // All at one moment.
  void Burst(int calls) {
    for (int i = 0; i < calls; ++i) Ask();
  }
  // Until everything that was asked for is answered.
  void Drain() {
    Load(0);
    Run(kDeadline + 2 * GatewayModel::kTick);
    EXPECT_EQ(open_, 0u) << "not answered";
  }
  Tally TakeTally() { return std::exchange(tally_, {}); }

 private:
  void PlanArrival(std::uint64_t load) {
    if (rate_ <= 0) return;
    const double even = (static_cast<double>(world_.dice.Below(1u << 30)) + 1) / (1u << 30);
    const Duration wait(static_cast<Duration::rep>(-std::log(even) / rate_ * 1e9));
    world_.After(wait, [this, load] {
      if (load != load_) return;
      Ask();
      PlanArrival(load);
    });
  }

  void Ask() {
    CallModel* call = TakeFree();
    call->number = ++asked_;
    call->signed_as = 0;
    call->key_id = Keys::IdOf(static_cast<std::uint32_t>(world_.dice.Below(keys_.count)));
    call->arrived = world_.now;
    call->deadline = call->promised = world_.now + kDeadline;
    call->no_wait = world_.dice.OneIn(16);
    call->sink = this;
    call->next = nullptr;
    ++open_;
    gateway_.Sign(call);
  }

  CallModel* TakeFree() {
    // Used again late, so that a second answer finds a call that nobody waits for.
    constexpr std::size_t kRest = 4096;
    if (free_.size() < kRest) return &calls_.emplace_back();
    CallModel* call = free_.front();
    free_.pop_front();
    return call;
  }

  void Complete(SignCall* first) override {
    while (first != nullptr) {
      auto* call = static_cast<CallModel*>(PopFirst(first));
      if (call->sink != this) {
        Wrong("answered twice");
        continue;
      }
      call->sink = nullptr;
      --open_;
      Judge(*call);
      free_.push_back(call);
    }
  }

  void Judge(const CallModel& call) {
    ++tally_.by_error[static_cast<std::size_t>(call.error)];
    world_.Note(call.number << 8 | static_cast<std::uint64_t>(call.error));
    if (world_.now > call.promised + GatewayModel::kTick) Wrong("answered after its deadline");
    if (call.error != ErrorCode::kOk) return;
    if (call.signed_as != call.number) Wrong("the answer to another request");
    tally_.latencies += world_.now - call.arrived;
    tally_.slowest = std::max(tally_.slowest, world_.now - call.arrived);
  }

  // Looks for what is not answered though its deadline is over.
  void Sweep() {
    for (const CallModel& call : calls_) {
      if (call.sink == this && world_.now > call.promised + GatewayModel::kTick) {
        Wrong("not answered by its deadline");
      }
    }
    world_.After(seconds(1), [this] { Sweep(); });
  }

  void Wrong(const std::string& what) {
    constexpr int kShown = 3;
    if (++wrongs_ > kShown) return;
    ADD_FAILURE() << what << ", at "
                  << std::chrono::duration<double>(world_.now.time_since_epoch()).count() << " s\n"
                  << gateway_.Health();
  }

  World world_;
  Keys keys_;
  std::vector<std::unique_ptr<EnclaveModel>> enclaves_;
  GatewayModel gateway_{world_, keys_, [this](const std::string& what) { Wrong(what); }};
  std::deque<CallModel> calls_;
  std::deque<CallModel*> free_;
  std::uint64_t asked_ = 0;
  std::uint64_t open_ = 0;
  double rate_ = 0;
  std::uint64_t load_ = 0;
  Tally tally_;
  int wrongs_ = 0;
};

std::uint64_t Seed() {
  const char* text = std::getenv("BULLA_TEST_SEED");
  const std::uint64_t seed = text ? std::strtoull(text, nullptr, 10) : RandomUint64();
  fmt::print("BULLA_TEST_SEED={}\n", seed);
  std::fflush(stdout);  // also where the test does not come to its end
  return seed;
}

// ---- Random faults ---------------------------------------------------------------------------

class RandomFaults {
 public:
  explicit RandomFaults(std::uint64_t seed) : simulation_(seed, kRandomEnclaves) {}

  void Run(std::uint64_t steps) {
    while (simulation_.world().steps < steps && !testing::Test::HasFailure()) Episode();
    simulation_.Drain();
  }
  Simulation& simulation() { return simulation_; }
  std::string Summary() {
    const World& world = simulation_.world();
    const GatewayModel::Counts& counts = simulation_.gateway().counts();
    const auto hours = std::chrono::duration<double, std::ratio<3600>>(
        world.now.time_since_epoch() - std::chrono::hours(1000));
    return fmt::format(
        "{} steps, {:.1f} simulated hours, {} episodes, {} faults, {} signatures asked for\n"
        "answered under faults: {:.1f} % OK, {:.1f} % RETRY_LATER, {:.1f} % UNLOCK_REQUIRED, "
        "{:.1f} % UNAVAILABLE\n"
        "{} retries, {} refused by the budget, {} ejections, {} unlocks, {} blob loads, {} over "
        "the limit; history {:016x}\n",
        world.steps, hours.count(), episodes_, faults_, counts.received,
        100 * under_faults_.Share(ErrorCode::kOk),
        100 * under_faults_.Share(ErrorCode::kRetryLater),
        100 * under_faults_.Share(ErrorCode::kUnlockRequired),
        100 * under_faults_.Share(ErrorCode::kUnavailable), counts.retries, counts.retries_refused,
        counts.ejections, counts.unlocks, counts.blob_loads, counts.refused_over_limit,
        world.history);
  }

 private:
  void Episode() {
    ++episodes_;
    Dice& dice = simulation_.world().dice;
    constexpr double kRates[] = {20, 200, 1000, 3000, 6000};
    simulation_.Load(kRates[dice.Below(std::size(kRates))]);
    simulation_.Run(seconds(1));
    simulation_.TakeTally();
    const std::size_t faults = 1 + dice.Below(12);
    for (std::size_t i = 0; i < faults; ++i) {
      Fault();
      simulation_.Run(dice.Between(milliseconds(1), milliseconds(1500)));
    }
    const Tally tally = simulation_.TakeTally();
    for (std::size_t i = 0; i < tally.by_error.size(); ++i) {
      under_faults_.by_error[i] += tally.by_error[i];
    }
    EndAllFaults();
    ExpectRecovery();
    // Quiet, for as long as it was not before.
    simulation_.Load(0.05);
    simulation_.Run(dice.Between(seconds(10), seconds(300)));
  }

  void Fault() {
    ++faults_;
    Dice& dice = simulation_.world().dice;
    const std::size_t i = dice.Below(kRandomEnclaves);
    EnclaveModel& enclave = simulation_.enclave(i);
    switch (dice.Below(14)) {
      case 0:
        return simulation_.Kill(i);
      case 1:
        return enclave.Start();
      case 2:
        return enclave.Freeze();
      case 3:
        return enclave.Thaw();
      case 4:
        return enclave.Slow(1 << dice.Below(8));
      case 5:
        return enclave.Garble(dice.OneIn(2));
      case 6:
        return enclave.LoseDeks();
      case 7:
        return enclave.LoseBlobs();
      case 8:
        return enclave.RefuseDeks(dice.OneIn(2));
      case 9:
        simulation_.keys().kms_away = dice.OneIn(2);
        return;
      case 10:
        return simulation_.gateway().DelayStore(milliseconds(1 << dice.Below(12)));
      case 11:
        return ComeOrGo(enclave);
      case 12:
        if (simulation_.gateway().Has(enclave.name())) {
          simulation_.gateway().SetWeight(enclave.name(),
                                          static_cast<std::uint32_t>(50 + dice.Below(150)));
        }
        return;
      default:
        simulation_.Kill(i);
        return enclave.Start();
    }
  }

  void ComeOrGo(EnclaveModel& enclave) {
    GatewayModel& gateway = simulation_.gateway();
    if (gateway.Has(enclave.name())) return gateway.Remove(enclave.name());
    gateway.Add(enclave, HashRing::kFullWeight);
  }

  void EndAllFaults() {
    for (std::size_t i = 0; i < kRandomEnclaves; ++i) {
      EnclaveModel& enclave = simulation_.enclave(i);
      if (!enclave.up()) enclave.Start();
      if (enclave.frozen()) enclave.Thaw();
      enclave.Slow(1);
      enclave.Garble(false);
      enclave.RefuseDeks(false);
      if (!simulation_.gateway().Has(enclave.name())) ComeOrGo(enclave);
    }
    simulation_.keys().kms_away = false;
    simulation_.gateway().DelayStore(milliseconds(1));
  }

  void ExpectRecovery() {
    simulation_.Load(400);
    simulation_.Run(seconds(10));
    EXPECT_TRUE(simulation_.gateway().healthy()) << simulation_.gateway().Health();
    simulation_.Drain();
    simulation_.TakeTally();
    simulation_.Load(400);
    simulation_.Run(seconds(2));
    EXPECT_EQ(simulation_.TakeTally().Errors(), 0) << simulation_.gateway().Health();
  }

  Simulation simulation_;
  std::uint64_t episodes_ = 0;
  std::uint64_t faults_ = 0;
  Tally under_faults_;
};

TEST(Gateway, NoOrderOfFaultsLosesACallOrOutlivesThem) {
  const std::uint64_t seed = Seed();
  SCOPED_TRACE(fmt::format("BULLA_TEST_SEED={}", seed));
  const RealClock clock;  // how long the run takes, and nothing in it
  const MonotonicTime begin = clock.Now();
  RandomFaults faults(seed);
  faults.Run(kStepsPerKeyLifeStep * BULLA_SIMULATION_STEPS);
  const std::chrono::duration<double> took = clock.Now() - begin;
  fmt::print("{:.1f} s\n{}", took.count(), faults.Summary());
}

TEST(Gateway, OneSeedIsOneHistory) {
  const std::uint64_t seed = Seed();
  SCOPED_TRACE(fmt::format("BULLA_TEST_SEED={}", seed));
  RandomFaults one(seed);
  RandomFaults other(seed);
  one.Run(100'000);
  other.Run(100'000);
  EXPECT_EQ(one.simulation().world().history, other.simulation().world().history);
}

// ---- Directed faults -------------------------------------------------------------------------

// With a warm start: every key's blob is there, every data key open.
class Directed : public testing::Test {
 protected:
  std::unique_ptr<Simulation> Make(std::size_t enclaves, double rate) {
    auto simulation = std::make_unique<Simulation>(seed_, enclaves);
    simulation->keys().count = 500;
    simulation->Load(rate);
    simulation->Run(seconds(5));
    simulation->TakeTally();
    return simulation;
  }
  void ExpectRecovery(Simulation& simulation) {
    simulation.Run(seconds(10));
    EXPECT_TRUE(simulation.gateway().healthy()) << simulation.gateway().Health();
    simulation.Drain();
    simulation.TakeTally();
    simulation.Load(1000);
    simulation.Run(seconds(2));
    EXPECT_EQ(simulation.TakeTally().Errors(), 0) << simulation.gateway().Health();
  }

  const std::uint64_t seed_ = Seed();
  const testing::ScopedTrace trace_{__FILE__, __LINE__, fmt::format("BULLA_TEST_SEED={}", seed_)};
};

TEST_F(Directed, EveryEnclaveWithoutDataKeysIsNoRetryStorm) {
  std::unique_ptr<Simulation> simulation = Make(4, 2000);
  for (std::size_t i = 0; i < 4; ++i) simulation->enclave(i).RefuseDeks(true);
  const GatewayModel::Counts before = simulation->gateway().counts();
  simulation->Run(seconds(10));
  const GatewayModel::Counts after = simulation->gateway().counts();
  const auto received = static_cast<double>(after.received - before.received);
  const auto sent = static_cast<double>(after.sent - before.sent);
  fmt::print("retry storm: sent / received = {:.3f}\n", sent / received);
  EXPECT_LE(sent, 1.2 * received + RetryBudget::kSavedMax);
  EXPECT_GT(sent, received) << "some are repeated where a DEK was said to be open";
  for (std::size_t i = 0; i < 4; ++i) simulation->enclave(i).RefuseDeks(false);
  ExpectRecovery(*simulation);
}

// Half of the keys are the faulty one's, so what is not repeated shows at once.
struct OneOfTwo {
  const char* name;
  void (*begin)(Simulation&);
  void (*end)(Simulation&);
  double errors_max;  // in the first three seconds
};

TEST_F(Directed, CallersHardlyNoticeThatOneOfTwoEnclavesFails) {
  const OneOfTwo faults[] = {
      {"killed", [](Simulation& s) { s.Kill(0); }, [](Simulation& s) { s.enclave(0).Start(); },
       0.001},
      {"frozen", [](Simulation& s) { s.enclave(0).Freeze(); },
       [](Simulation& s) { s.enclave(0).Thaw(); }, 0.001},
      {"slow", [](Simulation& s) { s.enclave(0).Slow(1000); },
       [](Simulation& s) { s.enclave(0).Slow(1); }, 0.01},
      {"garbling", [](Simulation& s) { s.enclave(0).Garble(true); },
       [](Simulation& s) { s.enclave(0).Garble(false); }, 0.01},
  };
  for (const OneOfTwo& fault : faults) {
    SCOPED_TRACE(fault.name);
    std::unique_ptr<Simulation> simulation = Make(2, 1000);
    const std::string name = simulation->enclave(0).name();
    const std::uint64_t sent_at_begin = simulation->gateway().sent_to(name);
    fault.begin(*simulation);
    simulation->Run(seconds(1));
    const std::uint64_t sent_before = simulation->gateway().sent_to(name);
    simulation->Run(seconds(2));
    const std::uint64_t sent = simulation->gateway().sent_to(name) - sent_before;
    const Tally tally = simulation->TakeTally();
    fmt::print(
        "one of two {}: {:.3f} % errors in 3 s; sent there: {} in the first second, then {}\n",
        fault.name, 100 * tally.Errors(), sent_before - sent_at_begin, sent);
    EXPECT_LE(tally.Errors(), fault.errors_max);
    EXPECT_LE(sent_before - sent_at_begin, 200u) << "of the five hundred that are its";
    EXPECT_LE(sent, 100u) << "of the thousand that are its";
    fault.end(*simulation);
    ExpectRecovery(*simulation);
  }
}

TEST_F(Directed, TwiceTheCapacityIsHalfServedInGoodTimeAndHalfRefused) {
  std::unique_ptr<Simulation> simulation = Make(2, 2000);
  simulation->Load(4 * kCapacity);
  simulation->Run(seconds(2));
  simulation->TakeTally();
  simulation->Run(seconds(10));
  const Tally tally = simulation->TakeTally();
  const double goodput = static_cast<double>(tally.of(ErrorCode::kOk)) / (10 * 2 * kCapacity);
  fmt::print(
      "overload: goodput {:.1f} % of the capacity, {:.1f} % refused, {:.2f} % UNAVAILABLE; "
      "latency: "
      "mean {:.0f} ms, most {:.0f} ms\n",
      100 * goodput, 100 * tally.Share(ErrorCode::kRetryLater),
      100 * tally.Share(ErrorCode::kUnavailable), InMs(tally.Mean()), InMs(tally.slowest));
  EXPECT_GE(goodput, 0.9);
  EXPECT_LE(tally.Share(ErrorCode::kUnavailable), 0.001);
  EXPECT_LE(tally.Mean(), milliseconds(75)) << "the queue is to be held to 50";
  simulation->Load(2000);
  simulation->Run(seconds(3));
  simulation->TakeTally();
  simulation->Burst(600);
  simulation->Run(seconds(1));
  EXPECT_EQ(simulation->TakeTally().Errors(), 0) << "a burst after an overload was refused";
  ExpectRecovery(*simulation);
}

TEST_F(Directed, ASlowStoreKeepsNobodyBeyondItsDeadline) {
  std::unique_ptr<Simulation> simulation = Make(4, 500);
  simulation->gateway().DelayStore(4 * kDeadline);
  for (std::size_t i = 0; i < 4; ++i) simulation->enclave(i).LoseBlobs();
  simulation->Run(seconds(1));
  EXPECT_GT(simulation->TakeTally().of(ErrorCode::kUnavailable), 0u);
  simulation->Drain();
  simulation->gateway().DelayStore(milliseconds(1));
  simulation->Load(1000);
  ExpectRecovery(*simulation);
}

TEST_F(Directed, WhileKmsIsAwayItIsAskedLessAndLess) {
  std::unique_ptr<Simulation> simulation = Make(4, 2000);
  simulation->keys().kms_away = true;
  for (std::size_t i = 0; i < 4; ++i) simulation->enclave(i).LoseDeks();
  const std::uint64_t before = simulation->gateway().counts().unlocks;
  simulation->Run(seconds(10));
  const std::uint64_t unlocks = simulation->gateway().counts().unlocks - before;
  const std::uint64_t pairs = 4 * simulation->keys().deks;
  fmt::print("KMS away for 10 s: {} unlocks of {} data keys\n", unlocks, pairs);
  EXPECT_GE(unlocks, 5 * pairs) << "one every second or two";
  EXPECT_LE(unlocks, 16 * pairs);
  simulation->keys().kms_away = false;
  ExpectRecovery(*simulation);
}

TEST_F(Directed, WhoeverComesOrGoesUnderLoadCostsNoCall) {
  std::unique_ptr<Simulation> simulation = Make(3, 2000);
  simulation->AddEnclave();
  simulation->Run(seconds(5));
  EXPECT_GT(simulation->gateway().sent_to(simulation->enclave(3).name()), 0u);
  const double joining = simulation->TakeTally().Errors();
  simulation->gateway().Remove(simulation->enclave(0).name());
  const std::uint64_t received = simulation->enclave(0).received();
  simulation->Run(seconds(5));
  const double leaving = simulation->TakeTally().Errors();
  fmt::print("errors: {:.3f} % while one joins, {:.3f} % while one leaves\n", 100 * joining,
             100 * leaving);
  EXPECT_EQ(joining, 0);
  EXPECT_EQ(leaving, 0);
  EXPECT_LE(simulation->enclave(0).received(), received + 2 * kFrameSignsMax)
      << "sent after it left";
}

// ---- The ring --------------------------------------------------------------------------------

class KeysOnRing {
 public:
  static constexpr std::uint32_t kKeys = 100'000;
  explicit KeysOnRing(const std::vector<HashRing::Member>& members) {
    const HashRing ring(members);
    for (std::uint32_t key = 0; key < kKeys; ++key) {
      owners_.push_back(members[*ring.OwnerOf(Keys::IdOf(key))].name);
    }
  }
  double ShareOf(const std::string& name) const {
    return static_cast<double>(std::ranges::count(owners_, name)) / kKeys;
  }
  // Of all keys; those that neither come from `changed` nor go there are an error.
  double Moved(const KeysOnRing& after, const std::string& changed) const {
    std::size_t moved = 0;
    std::size_t needlessly = 0;
    for (std::size_t key = 0; key < kKeys; ++key) {
      if (owners_[key] == after.owners_[key]) continue;
      ++moved;
      if (owners_[key] != changed && after.owners_[key] != changed) ++needlessly;
    }
    EXPECT_EQ(needlessly, 0u);
    return static_cast<double>(moved) / kKeys;
  }

 private:
  std::vector<std::string> owners_;
};

TEST(GatewayRing, OfAHundredThousandKeysOnlyThoseMoveThatMust) {
  const std::vector<HashRing::Member> four = {{"a"}, {"b"}, {"c"}, {"d"}};
  std::vector<HashRing::Member> five = four;
  five.push_back({"e"});
  std::vector<HashRing::Member> heavier = four;
  heavier[1].weight = 2 * HashRing::kFullWeight;
  const KeysOnRing before(four);
  const KeysOnRing joined(five);
  const KeysOnRing weighed(heavier);
  const double join = before.Moved(joined, "e");
  const double leave = joined.Moved(before, "e");
  const double weigh = before.Moved(weighed, "b");
  fmt::print(
      "ring: {:.1f} % move when a fifth joins, {:.1f} % when it leaves, {:.1f} % when one of "
      "four weighs twice as much\n",
      100 * join, 100 * leave, 100 * weigh);
  EXPECT_EQ(join, joined.ShareOf("e"));
  EXPECT_EQ(leave, join);
  EXPECT_NEAR(join, 0.2, 0.05);
  EXPECT_NEAR(weighed.ShareOf("b"), 0.4, 0.07);
}

}  // namespace
}  // namespace bulla
