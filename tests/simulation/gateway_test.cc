// Does any order of faults make the gateway leave a signature without an answer, answer it twice or
// late, send more than the retry budget allows, or keep away from enclaves that are well again?
// The gateway is the real one, from the router to the streams' slots (gateway/routing/data_plane),
// on one thread; callers and enclaves that are killed, frozen, slowed, garbling or forgetful
// (enclave_model.h) live through hours here. Time, chance, the store's answers and the connections
// (simulated_transport.h) come from one seed. What is not here: threads, sockets, crypto.

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <set>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "gateway/call/call_list.h"
#include "gateway/routing/data_plane.h"
#include "tests/simulation/enclave_model.h"
#include "tests/simulation/simulated_transport.h"
#include "tests/simulation/world.h"

namespace bulla {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kService = microseconds(250);
constexpr double kCapacity = 4000;  // of one enclave: signatures a second
constexpr Duration kDeadline = milliseconds(500);
constexpr std::size_t kRandomEnclaves = 4;
// Until one that comes back is warmed up (five seconds at most) and has its weight again (ten steps
// of half a second).
constexpr Duration kRecovery = seconds(15);
// A step here costs less than one of key_life_test.
constexpr std::uint64_t kStepsPerKeyLifeStep = 5;
// Enough for several episodes of faults.
constexpr std::uint64_t kStepsOfHistory = 500'000;

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

// The file of credentials that a gateway hands to its enclaves.
const std::string& CredentialsFile() {
  static const std::string kPath = [] {
    std::string path = fmt::format("{}/bulla-simulation-{}", testing::TempDir(), ::getpid());
    std::ofstream(path)
        << R"({"accessKeyId": "AKIDEXAMPLEEXAMPLE", "secretAccessKey": "exampleexampleexample"})";
    return path;
  }();
  return kPath;
}

class SimulatedCall final : public SignCall {
 public:
  std::uint64_t number = 0;  // the signature that is wanted
  MonotonicTime arrived;
  MonotonicTime promised;  // the caller's deadline: the call's own shrinks when it is retried
};

// Where a call goes that was completed already.
class SecondCompletion final : public CompletionSink {
 public:
  explicit SecondCompletion(std::function<void()> wrong) : wrong_(std::move(wrong)) {}
  void Complete(SignCall*) override { wrong_(); }

 private:
  const std::function<void()> wrong_;
};

class Simulation final : private CompletionSink {
 public:
  static constexpr Duration kTick = milliseconds(10);
  static constexpr std::size_t kStreams = 2;
  static constexpr std::size_t kStreamsMax = 6;         // where settings change
  static constexpr std::size_t kSignaturesPerKey = 64;  // that is made

  Simulation(std::uint64_t seed, std::size_t enclaves) : world_(seed) {
    SetLogLevel(LogLevel::kError);
    ResetSettings();
    for (std::uint32_t dek = 0; dek < keys_.deks; ++dek) {
      store_.PutDek({.dek_id = Keys::DekIdOf(dek), .wrapped = {1}}, [](const absl::Status&) {});
    }
    for (std::uint32_t key = 0; key < keys_.count; ++key) {
      store_.PutKey({.key_id = Keys::IdOf(key),
                     .dek_id = Keys::DekIdOf(keys_.DekOf(key)),
                     .blob = Keys::BlobOf(key)},
                    std::nullopt, [](const absl::StatusOr<KeyRow>&) {});
    }
    plane_.StartBlocking();
    DelayStore(milliseconds(1));
    Tick();
    for (std::size_t i = 0; i < enclaves; ++i) AddEnclave();
    Run(seconds(8));  // all connect, and each takes its share step by step
    Sweep();
  }
  ~Simulation() override {
    DelayStore(milliseconds(1));
    const std::shared_ptr<const Fleet::Table> table = plane_.fleet().table();
    for (const auto& member : table->members) member->link()->Retire();
    Run(seconds(15));  // longer than any call is under way
  }

  EnclaveModel& enclave(std::size_t i) { return *enclaves_[i]; }
  World& world() { return world_; }
  Keys& keys() { return keys_; }
  DataPlaneSettings& settings() { return settings_; }

  void AddEnclave() {
    const std::string name = fmt::format("enclave-{}", enclaves_.size());
    enclaves_.push_back(std::make_unique<EnclaveModel>(
        world_, keys_, name, kService, [this](const std::string& what) { Wrong(what); }));
    transport_.Add(*enclaves_.back());
    EXPECT_TRUE(plane_.fleet().Add({AddressOf(enclaves_.size() - 1)}).ok());
  }
  void Kill(std::size_t i) {
    enclave(i).Kill();
    transport_.OnKilled(enclave(i));
  }
  void DelayStream(std::size_t i, Duration delay) { transport_.DelayStream(enclave(i), delay); }
  void CutStream(std::size_t i) { transport_.CutStream(enclave(i)); }
  void DelayStore(Duration wait) { store_.Delay(wait); }

  // ---- operators
  bool IsThere(std::size_t i) const {
    return std::ranges::any_of(plane_.fleet().statuses(), [&](const Fleet::Status& status) {
      return status.link.address == AddressOf(i).ToString();
    });
  }
  // False when the gateway refuses: nobody else serves.
  bool Remove(std::size_t i) { return plane_.fleet().Remove(AddressOf(i)).ok(); }
  void ComeOrGo(std::size_t i) {
    if (!IsThere(i)) {
      EXPECT_TRUE(plane_.fleet().Add({AddressOf(i)}).ok());
    } else if (!Remove(i)) {
      SetWeight(i, HashRing::kFullWeight);
    }
  }
  void SetWeight(std::size_t i, std::uint32_t weight) {
    if (!IsThere(i)) return;
    EXPECT_TRUE(plane_.fleet().SetWeight(AddressOf(i), weight).ok());
  }

  // Hot settings, while calls are under way. Not what CheckBudget() reckons with.
  void ChangeSettings() {
    Dice& dice = world_.dice;
    settings_.link.streams_min = 1 + dice.Below(kStreams);
    settings_.link.streams_max = kStreams + dice.Below(kStreamsMax - kStreams + 1);
    settings_.link.batch_size_max = 1 + dice.Below(kFrameSignsMax);
    settings_.link.batch_wait_max = microseconds(dice.Below(5000));
    settings_.link.queue_wait_max = milliseconds(1 + dice.Below(100));
    settings_.unlock.concurrency_max = 1 + dice.Below(8);
    settings_.unlock.rate_max = 1 + dice.Below(100);
    settings_.retry.count_max = static_cast<std::uint8_t>(dice.Below(3));
    settings_.retry.timeout = milliseconds(1 + dice.Below(400));
    settings_.retry.per_try_timeout = milliseconds(20 + dice.Below(400));
    settings_.rebalancing_step_interval = milliseconds(100 + dice.Below(1000));
  }
  void ResetSettings() {
    settings_ = {};
    settings_.link.streams_min = settings_.link.streams_max = kStreams;
  }

  // Every enclave serves with the weight that it is to have, none is ejected, all streams are open.
  bool healthy() const {
    return std::ranges::all_of(plane_.fleet().statuses(), [](const Fleet::Status& status) {
      return status.in_service && !status.ejected && !status.leaving &&
             status.weight == status.weight_target && status.link.streams_open >= kStreams;
    });
  }
  // Of the enclave that was added as number `i`, while none has gone.
  std::size_t streams_open(std::size_t i) const {
    return plane_.fleet().statuses()[i].link.streams_open;
  }
  std::string Health() const {
    std::string text;
    for (const Fleet::Status& status : plane_.fleet().statuses()) {
      text += fmt::format(
          "{}: connected {}, in service {}, ejected {}, leaving {}, weight {} of {}, streams {}, "
          "in "
          "flight {}, {}\n",
          status.link.address, status.link.connected, status.in_service, status.ejected,
          status.leaving, status.weight, status.weight_target, status.link.streams_open,
          status.link.in_flight, status.link.last_error);
    }
    return text;
  }

  struct Counts {
    std::uint64_t received = 0;
    std::uint64_t sent = 0;  // to enclaves
    std::uint64_t retries = 0;
    std::uint64_t retries_refused = 0;
    std::uint64_t refused_over_limit = 0;
    std::uint64_t refused_without_slot = 0;
    std::uint64_t ejections = 0;
    std::uint64_t unlocks = 0;
    std::uint64_t blob_loads = 0;
  };
  Counts counts() {
    Counts counts{.received = asked_, .ejections = ejections_};
    for (const auto& enclave : enclaves_) counts.sent += enclave->received();
    for (const prometheus::Counter* counter : retried_) counts.retries += ValueOf(*counter);
    counts.retries_refused = ValueOf(retries_refused_);
    counts.refused_over_limit = plane_.fleet().capacity().refused;
    counts.refused_without_slot = ValueOf(exhausted_);
    counts.unlocks = ValueOf(unlocks_);
    counts.blob_loads = ValueOf(blob_loads_);
    return counts;
  }

  void Run(Duration time) { world_.RunUntil(world_.now + time); }
  // Signatures a second from now on, as independent callers ask for them.
  void Load(double rate) {
    rate_ = rate;
    ++load_;
    PlanArrival(load_);
  }
  // How long calls may take from now on.
  void Patience(Duration time) { patience_ = time; }
  // All at one moment.
  void Burst(int calls) {
    for (int i = 0; i < calls; ++i) Ask();
  }
  // The same, one for each of the first keys, which may all be held back to travel together.
  void BurstOfKeys(std::uint32_t keys) {
    for (std::uint32_t key = 0; key < keys; ++key) AskFor(key, /*no_wait=*/false);
  }
  // The same, of keys to be made.
  void BurstOfCreates(int calls) {
    for (int i = 0; i < calls; ++i) AskForKey();
  }
  // Until everything that was asked for is answered.
  void Drain() {
    Load(0);
    Run(kDeadline + 2 * kTick);
    EXPECT_EQ(open_, 0u) << "not answered";
    EXPECT_EQ(creates_open_, 0u) << "keys to be made, not answered";
    const std::shared_ptr<const Fleet::Table> table = plane_.fleet().table();
    for (const auto& member : table->members) {
      EXPECT_EQ(member->link()->pool().outstanding(), 0u) << "the batcher knows of more";
    }
  }
  Tally TakeTally() { return std::exchange(tally_, {}); }

 private:
  static Address AddressOf(std::size_t i) {
    return SimulatedTransport::AddressOf(fmt::format("enclave-{}", i));
  }
  static std::uint64_t ValueOf(const prometheus::Counter& counter) {
    return static_cast<std::uint64_t>(counter.Value());
  }

  void PlanArrival(std::uint64_t load) {
    if (rate_ <= 0) return;
    const double even = (static_cast<double>(world_.dice.Below(1u << 30)) + 1) / (1u << 30);
    const Duration wait(static_cast<Duration::rep>(-std::log(even) / rate_ * 1e9));
    world_.After(wait, [this, load] {
      if (load != load_) return;
      Ask();
      if (world_.dice.OneIn(kSignaturesPerKey)) AskForKey();
      PlanArrival(load);
    });
  }

  void Ask() {
    const auto key = static_cast<std::uint32_t>(world_.dice.Below(keys_.count));
    AskFor(key, world_.dice.OneIn(16));
  }

  void AskFor(std::uint32_t key, bool no_wait) {
    SimulatedCall* call = TakeFree();
    call->number = ++asked_;
    call->key_id = Keys::IdOf(key);
    call->digest = Keys::DigestOf(call->number);
    call->arrived = world_.now;
    call->deadline = call->promised = world_.now + patience_;
    call->no_wait = no_wait;
    call->sink = this;
    call->next = nullptr;
    ++open_;
    plane_.router().Sign(call);
  }

  // As gateway/keys/key_service asks, whose key ids are of no seed.
  void AskForKey() {
    KeyId key_id;
    for (std::uint8_t& byte : key_id.bytes) byte = static_cast<std::uint8_t>(world_.dice.Roll());
    const MonotonicTime deadline = world_.now + kDeadline;
    EnclaveStream::CreateDone done = [this, deadline, answered = std::make_shared<bool>(false)](
                                         ErrorCode error, const CreateReply&) {
      if (std::exchange(*answered, true)) return Wrong("a key to be made was answered twice");
      if (world_.now > deadline + kTick) Wrong("a key to be made was answered after its deadline");
      --creates_open_;
      world_.Note(static_cast<std::uint64_t>(error));
    };
    const std::shared_ptr<const Fleet::Table> table = plane_.fleet().table();
    const bool taken = table->ring
                           .Find(key_id,
                                 [&](std::size_t index) {
                                   Fleet::Member& member = *table->members[index];
                                   return member.available() &&
                                          member.link()->pool().Create(key_id, deadline, done);
                                 })
                           .has_value();
    if (taken) ++creates_open_;
  }

  SimulatedCall* TakeFree() {
    // Used again late, so that a second completion finds a call that nobody waits for.
    constexpr std::size_t kRest = 4096;
    if (free_.size() < kRest) return &calls_.emplace_back();
    SimulatedCall* call = free_.front();
    free_.pop_front();
    return call;
  }

  // Those of one moment come in the order of a hash map at times: one seed, one history.
  void Complete(SignCall* first) override {
    std::vector<SimulatedCall*> calls;
    while (first != nullptr) calls.push_back(static_cast<SimulatedCall*>(PopFirst(first)));
    std::ranges::sort(calls, {}, &SimulatedCall::number);
    for (SimulatedCall* call : calls) {
      call->sink = &second_completion_;
      --open_;
      Judge(*call);
      free_.push_back(call);
    }
  }

  void Judge(const SimulatedCall& call) {
    ++tally_.by_error[static_cast<std::size_t>(call.error)];
    world_.Note(call.number << 8 | static_cast<std::uint64_t>(call.error));
    if (world_.now > call.promised + kTick) Wrong("answered after its deadline");
    if (call.error != ErrorCode::kOk) return;
    if (Keys::CallIn(call.signature) != call.number) Wrong("the answer to another request");
    tally_.latencies += world_.now - call.arrived;
    tally_.slowest = std::max(tally_.slowest, world_.now - call.arrived);
  }

  // Looks for what is not answered though its deadline is over.
  void Sweep() {
    for (const SimulatedCall& call : calls_) {
      if (call.sink == this && world_.now > call.promised + kTick) {
        Wrong("not answered by its deadline");
      }
    }
    world_.After(seconds(1), [this] { Sweep(); });
  }

  void Tick() {
    plane_.Tick(world_.now);
    if (ticks_++ % 10 == 0) CheckBudget();
    CheckFleet();
    if (store_.same_key_at_once() > enclaves_.size() + 1) Wrong("two loads of one key at a time");
    world_.After(kTick, [this] { Tick(); });
  }

  // What the budget can have at most: no more is retried than was saved, earned since, and given
  // whatever the traffic. In tenths of a retry.
  void CheckBudget() {
    const std::int64_t tenths = settings_.retry.requests_per_retry.Get();
    const Counts counts = this->counts();
    const auto received = static_cast<std::int64_t>(counts.received - seen_.received);
    const auto retries = static_cast<std::int64_t>(counts.retries - seen_.retries);
    seen_ = counts;
    const std::int64_t left = budget_ + received + tenths - tenths * retries;
    if (left < 0) Wrong("more was retried than the budget allows");
    budget_ = std::min(left, RetryBudget::kSavedMax * tenths);
  }

  void CheckFleet() {
    std::size_t serving = 0;
    std::size_t ejected = 0;
    std::set<std::uint32_t> out;
    const std::shared_ptr<const Fleet::Table> table = plane_.fleet().table();
    for (const auto& member : table->members) {
      if (member->in_service()) ++serving;
      if (member->in_service() && member->ejected()) ++ejected;
      if (member->ejected()) out.insert(member->id());
      if (member->link()->pool().in_flight() > kStreamsMax * EnclaveStream::kSlotsMax) {
        Wrong("more in flight than there are slots");
      }
    }
    if (ejected * 2 > serving) Wrong("more than half of those that serve are ejected");
    for (std::uint32_t id : out) {
      if (!out_.contains(id)) ++ejections_;
      world_.Note(id);
    }
    out_.swap(out);
  }

  void Wrong(const std::string& what) {
    constexpr int kShown = 3;
    if (++wrongs_ > kShown) return;
    ADD_FAILURE() << what << ", at "
                  << std::chrono::duration<double>(world_.now.time_since_epoch()).count() << " s\n"
                  << Health();
  }

  prometheus::Counter& Counter(const std::string& name, const Metrics::Labels& labels = {}) {
    return metrics_.AddCounter(name, "", labels);
  }

  World world_;
  Keys keys_;
  SimulatedClock clock_{world_};
  SimulatedTimers timers_{world_};
  SimulatedTransport transport_{world_};
  SimulatedStore store_{world_};
  std::vector<std::unique_ptr<EnclaveModel>> enclaves_;
  Metrics metrics_;
  DataPlaneSettings settings_;
  DataPlane plane_{{.credentials_file = CredentialsFile(), .platform = std::string(kSimulated)},
                   settings_,
                   store_,
                   metrics_,
                   {.clock = clock_, .timers = timers_, .transport = transport_, .random = [this] {
                      return world_.dice.Roll();
                    }}};
  // As the gateway counts them.
  const std::array<prometheus::Counter*, 3> retried_{
      &Counter("retry_total", {{"reason", "lost"}}),
      &Counter("retry_total", {{"reason", "no_dek"}}),
      &Counter("retry_total", {{"reason", "rehydrate_timeout"}})};
  prometheus::Counter& exhausted_ = Counter("pool_exhausted_total");
  prometheus::Counter& retries_refused_ = Counter("bulla_gateway_retry_refusals_total");
  prometheus::Counter& unlocks_ = Counter("unlock_bg_rate");
  prometheus::Counter& blob_loads_ = Counter("bulla_gateway_blobs_sent_total");
  std::uint64_t ejections_ = 0;
  std::set<std::uint32_t> out_;  // the ids of those ejected at the last tick
  Counts seen_;                  // at the last look at the budget
  std::int64_t budget_ = RetryBudget::kSavedMax * settings_.retry.requests_per_retry.Get();
  std::uint64_t ticks_ = 0;
  std::deque<SimulatedCall> calls_;
  std::deque<SimulatedCall*> free_;
  std::uint64_t asked_ = 0;
  std::uint64_t open_ = 0;
  std::uint64_t creates_open_ = 0;
  SecondCompletion second_completion_{[this] { Wrong("answered twice"); }};
  double rate_ = 0;
  Duration patience_ = kDeadline;
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

// What a shell's command prints.
std::string OutputOf(const std::string& command) {
  std::string output;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr) << command;
  if (pipe == nullptr) return output;
  std::array<char, 4096> part{};
  while (std::fgets(part.data(), part.size(), pipe) != nullptr) output += part.data();
  EXPECT_EQ(::pclose(pipe), 0) << command;
  return output;
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
    const Simulation::Counts counts = simulation_.counts();
    const auto hours = std::chrono::duration<double, std::ratio<3600>>(
        world.now.time_since_epoch() - std::chrono::hours(1000));
    return fmt::format(
        "{} steps, {:.1f} simulated hours, {} episodes, {} faults, {} signatures asked for\n"
        "answered under faults: {:.1f} % OK, {:.1f} % RETRY_LATER, {:.1f} % UNLOCK_REQUIRED, "
        "{:.1f} % UNAVAILABLE\n"
        "{} retries, {} refused by the budget, {} ejections, {} unlocks, {} blob loads, {} over "
        "the limit, {} without a slot; history {:016x}\n",
        world.steps, hours.count(), episodes_, faults_, counts.received,
        100 * under_faults_.Share(ErrorCode::kOk),
        100 * under_faults_.Share(ErrorCode::kRetryLater),
        100 * under_faults_.Share(ErrorCode::kUnlockRequired),
        100 * under_faults_.Share(ErrorCode::kUnavailable), counts.retries, counts.retries_refused,
        counts.ejections, counts.unlocks, counts.blob_loads, counts.refused_over_limit,
        counts.refused_without_slot, world.history);
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
    switch (dice.Below(19)) {
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
        return simulation_.DelayStore(milliseconds(1 << dice.Below(12)));
      case 11:
        return simulation_.ComeOrGo(i);
      case 12:
        return simulation_.SetWeight(i, static_cast<std::uint32_t>(50 + dice.Below(150)));
      case 13:
        return simulation_.CutStream(i);
      case 14:
        return enclave.Delay(milliseconds(1 << dice.Below(7)));
      case 17:
        return simulation_.DelayStream(i, milliseconds(1 << dice.Below(7)));
      case 15:
        // More than all slots hold.
        simulation_.BurstOfCreates(1000);
        return simulation_.Burst(1200);
      case 16:
        return simulation_.ChangeSettings();
      default:
        simulation_.Kill(i);
        return enclave.Start();
    }
  }

  void EndAllFaults() {
    for (std::size_t i = 0; i < kRandomEnclaves; ++i) {
      EnclaveModel& enclave = simulation_.enclave(i);
      if (!enclave.up()) enclave.Start();
      if (enclave.frozen()) enclave.Thaw();
      enclave.Slow(1);
      enclave.Delay({});
      simulation_.DelayStream(i, {});
      enclave.Garble(false);
      enclave.RefuseDeks(false);
      if (!simulation_.IsThere(i)) simulation_.ComeOrGo(i);
      simulation_.SetWeight(i, HashRing::kFullWeight);
    }
    simulation_.keys().kms_away = false;
    simulation_.DelayStore(milliseconds(1));
    simulation_.ResetSettings();
  }

  void ExpectRecovery() {
    simulation_.Load(400);
    simulation_.Run(kRecovery);
    EXPECT_TRUE(simulation_.healthy()) << simulation_.Health();
    simulation_.Drain();
    simulation_.TakeTally();
    simulation_.Load(400);
    simulation_.Run(seconds(2));
    EXPECT_EQ(simulation_.TakeTally().Errors(), 0) << simulation_.Health();
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

// In another process hash maps have another order, and addresses are others.
TEST(Gateway, OneSeedIsOneHistoryInEveryProcess) {
  constexpr char kAsked[] = "BULLA_SIMULATION_HISTORY";  // by the process that compares
  const std::uint64_t seed = Seed();
  SCOPED_TRACE(fmt::format("BULLA_TEST_SEED={}", seed));
  RandomFaults faults(seed);
  faults.Run(kStepsOfHistory);
  if (HasFailure()) return;
  const std::string history = fmt::format("history {:016x}\n", faults.simulation().world().history);
  if (std::getenv(kAsked) != nullptr) {
    std::fputs(history.c_str(), stdout);
    return;
  }
  const std::string command =
      fmt::format("{}= BULLA_TEST_SEED={} '{}' --gtest_filter={}.{}", kAsked, seed,
                  std::filesystem::read_symlink("/proc/self/exe").string(),
                  test_info_->test_suite_name(), test_info_->name());
  for (int i = 0; i < 2; ++i) {
    const std::string said = OutputOf(command);
    EXPECT_NE(said.find(history), std::string::npos) << history << said;
  }
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
    simulation.Run(kRecovery);
    EXPECT_TRUE(simulation.healthy()) << simulation.Health();
    simulation.Drain();
    simulation.TakeTally();
    simulation.Load(1000);
    simulation.Run(seconds(2));
    EXPECT_EQ(simulation.TakeTally().Errors(), 0) << simulation.Health();
  }

  const std::uint64_t seed_ = Seed();
  const testing::ScopedTrace trace_{__FILE__, __LINE__, fmt::format("BULLA_TEST_SEED={}", seed_)};
};

TEST_F(Directed, EveryEnclaveWithoutDataKeysIsNoRetryStorm) {
  std::unique_ptr<Simulation> simulation = Make(4, 2000);
  for (std::size_t i = 0; i < 4; ++i) simulation->enclave(i).RefuseDeks(true);
  const Simulation::Counts before = simulation->counts();
  simulation->Run(seconds(10));
  const Simulation::Counts after = simulation->counts();
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
    EnclaveModel& faulty = simulation->enclave(0);
    const std::uint64_t sent_at_begin = faulty.received();
    fault.begin(*simulation);
    simulation->Run(seconds(1));
    const std::uint64_t sent_before = faulty.received();
    simulation->Run(seconds(2));
    const std::uint64_t sent = faulty.received() - sent_before;
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

TEST_F(Directed, AFrozenEnclaveThatIsTheOnlyOneKeepsNobodyBeyondItsDeadline) {
  std::unique_ptr<Simulation> simulation = Make(1, 300);
  simulation->enclave(0).Freeze();
  simulation->Run(seconds(1));
  EXPECT_GT(simulation->TakeTally().of(ErrorCode::kUnavailable), 0u);
  simulation->Drain();
  simulation->enclave(0).Thaw();
  simulation->Load(300);
  ExpectRecovery(*simulation);
}

TEST_F(Directed, ASlowStoreKeepsNobodyBeyondItsDeadline) {
  std::unique_ptr<Simulation> simulation = Make(4, 500);
  simulation->DelayStore(4 * kDeadline);
  for (std::size_t i = 0; i < 4; ++i) simulation->enclave(i).LoseBlobs();
  simulation->Run(seconds(1));
  EXPECT_GT(simulation->TakeTally().of(ErrorCode::kUnavailable), 0u);
  simulation->Drain();
  simulation->DelayStore(milliseconds(1));
  simulation->Load(1000);
  ExpectRecovery(*simulation);
}

TEST_F(Directed, WhileKmsIsAwayItIsAskedLessAndLess) {
  std::unique_ptr<Simulation> simulation = Make(4, 2000);
  simulation->keys().kms_away = true;
  for (std::size_t i = 0; i < 4; ++i) simulation->enclave(i).LoseDeks();
  const std::uint64_t before = simulation->counts().unlocks;
  simulation->Run(seconds(10));
  const std::uint64_t unlocks = simulation->counts().unlocks - before;
  const std::uint64_t pairs = 4 * simulation->keys().deks;
  fmt::print("KMS away for 10 s: {} unlocks of {} data keys\n", unlocks, pairs);
  EXPECT_GE(unlocks, 5 * pairs) << "one every second or two";
  EXPECT_LE(unlocks, 16 * pairs);
  simulation->keys().kms_away = false;
  ExpectRecovery(*simulation);
}

TEST_F(Directed, ABlobThatWasNotKeptIsSentAgainWithTheNextCall) {
  std::unique_ptr<Simulation> simulation = Make(1, 100);
  simulation->Drain();
  simulation->enclave(0).LoseDeks();
  simulation->enclave(0).LoseBlobs();
  // One for each data key: its blob comes and is not kept.
  simulation->TakeTally();
  simulation->BurstOfKeys(simulation->keys().deks);
  simulation->Run(milliseconds(60));
  EXPECT_EQ(simulation->TakeTally().of(ErrorCode::kUnlockRequired), simulation->keys().deks);
  // By now all data keys are open.
  simulation->BurstOfKeys(simulation->keys().deks);
  simulation->Drain();
  const Tally tally = simulation->TakeTally();
  fmt::print("after an unlock: latency {:.1f} ms at most\n", InMs(tally.slowest));
  EXPECT_EQ(tally.of(ErrorCode::kOk), simulation->keys().deks);
  EXPECT_LE(tally.slowest, milliseconds(20)) << "waited for a blob that is not on its way";
}

TEST_F(Directed, CallsThatOvertakeTheirBlobWaitForIt) {
  std::unique_ptr<Simulation> simulation = Make(1, 2000);
  // Blobs leave on the first stream, and so do calls, while few are under way there.
  simulation->DelayStream(0, milliseconds(40));
  simulation->Run(seconds(1));
  simulation->TakeTally();
  simulation->enclave(0).LoseBlobs();
  const std::uint64_t loads = simulation->counts().blob_loads;
  simulation->Run(seconds(2));
  const Tally tally = simulation->TakeTally();
  fmt::print("frames overtake each other: {:.3f} % errors, {} blobs of {} keys\n",
             100 * tally.Errors(), simulation->counts().blob_loads - loads,
             simulation->keys().count);
  EXPECT_EQ(tally.Errors(), 0);
  simulation->DelayStream(0, {});
  ExpectRecovery(*simulation);
}

TEST_F(Directed, WhatWaitsForABlobUnderWayIsGivenUpAtItsDeadline) {
  std::unique_ptr<Simulation> simulation = Make(1, 2000);
  simulation->DelayStream(0, milliseconds(80));
  simulation->Patience(milliseconds(45));
  simulation->Run(seconds(1));
  simulation->enclave(0).LoseBlobs();
  simulation->Run(seconds(1));
  EXPECT_GT(simulation->TakeTally().of(ErrorCode::kUnavailable), 0u);
  simulation->DelayStream(0, {});
  simulation->Patience(kDeadline);
  ExpectRecovery(*simulation);
}

TEST_F(Directed, PoolsAndBatchesAreAsTheSettingsSayNow) {
  std::unique_ptr<Simulation> simulation = Make(1, 3000);
  LinkSettings& link = simulation->settings().link;
  EnclaveModel& enclave = simulation->enclave(0);
  link.streams_min = link.streams_max = 3;
  simulation->Run(milliseconds(1100));
  EXPECT_EQ(simulation->streams_open(0), 3u) << "a second after its minimum was raised";
  link.streams_max = 5;
  enclave.Freeze();
  simulation->Burst(200);
  simulation->Run(milliseconds(50));
  EXPECT_EQ(simulation->streams_open(0), 5u) << "all were filled";
  enclave.Thaw();
  simulation->Run(seconds(2));

  const auto signatures_per_frame = [&] {
    const std::uint64_t signatures = enclave.received();
    const std::uint64_t frames = enclave.frames();
    simulation->Run(seconds(1));
    return static_cast<double>(enclave.received() - signatures) /
           static_cast<double>(enclave.frames() - frames);
  };
  link.batch_wait_max = microseconds(0);
  const double hurried = signatures_per_frame();
  link.batch_wait_max = milliseconds(10);
  EXPECT_GT(signatures_per_frame(), 2 * hurried);
  link.batch_size_max = 1;
  simulation->Run(seconds(1));
  EXPECT_EQ(signatures_per_frame(), 1);
}

TEST_F(Directed, WhatIsHeldBackToTravelTogetherIsGivenUpAtItsDeadline) {
  std::unique_ptr<Simulation> simulation = Make(2, 300);
  simulation->Drain();
  simulation->settings().link.batch_wait_max = milliseconds(10);  // 200 behind a full frame
  simulation->settings().retry.per_try_timeout = milliseconds(450);
  simulation->enclave(0).Freeze();
  simulation->enclave(1).Freeze();
  simulation->BurstOfKeys(8);
  simulation->Run(milliseconds(200));
  simulation->BurstOfKeys(100);  // what is retried of the first is held back behind these
  simulation->Drain();
  simulation->ResetSettings();
  simulation->enclave(0).Thaw();
  simulation->enclave(1).Thaw();
  simulation->Load(300);
  ExpectRecovery(*simulation);
}

TEST_F(Directed, WhatIsWithAnEnclaveThatIsKilledIsAnswered) {
  std::unique_ptr<Simulation> simulation = Make(2, 100);
  simulation->enclave(0).Freeze();
  simulation->BurstOfCreates(20);
  simulation->Burst(20);
  simulation->Run(milliseconds(10));
  simulation->Kill(0);
  simulation->Drain();
  simulation->enclave(0).Start();
  ExpectRecovery(*simulation);
}

TEST_F(Directed, WhatFindsEveryStreamFullIsRefusedAtOnceAndOnce) {
  std::unique_ptr<Simulation> simulation = Make(1, 300);
  const std::uint64_t before = simulation->counts().refused_without_slot;
  simulation->BurstOfCreates(300);
  simulation->Burst(400);
  const Tally tally = simulation->TakeTally();
  const std::uint64_t refused = simulation->counts().refused_without_slot - before;
  EXPECT_GT(refused, 100u);
  EXPECT_EQ(tally.of(ErrorCode::kRetryLater), refused);
  ExpectRecovery(*simulation);
}

TEST_F(Directed, WhoeverComesOrGoesUnderLoadCostsNoCall) {
  std::unique_ptr<Simulation> simulation = Make(3, 4000);
  simulation->AddEnclave();
  simulation->Run(seconds(5));
  EXPECT_GT(simulation->enclave(3).received(), 0u);
  const double joining = simulation->TakeTally().Errors();
  // So far away that something is always under way there, when it is let go too.
  simulation->enclave(0).Delay(milliseconds(50));
  const std::uint64_t retries = simulation->counts().retries;
  EXPECT_TRUE(simulation->Remove(0));
  simulation->Run(seconds(8));
  EXPECT_FALSE(simulation->IsThere(0));
  EXPECT_EQ(simulation->counts().retries, retries) << "what was with it was not answered there";
  const std::uint64_t received = simulation->enclave(0).received();
  simulation->Run(seconds(2));
  const double leaving = simulation->TakeTally().Errors();
  fmt::print("errors: {:.3f} % while one joins, {:.3f} % while one leaves\n", 100 * joining,
             100 * leaving);
  EXPECT_EQ(joining, 0);
  EXPECT_EQ(leaving, 0);
  EXPECT_EQ(simulation->enclave(0).received(), received) << "sent after it left";
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
