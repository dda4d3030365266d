// What leaves the signer, and what is made a key, while one bit of one word of anything that is
// computed with changes, at any stage: for each check and size of batch, how many came out right,
// were refused, or left wrong. The last must be none, but where nothing is checked: there the
// campaign shows that it sees.

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "base/random.h"
#include "crypto/address.h"
#include "crypto/signer.h"
#include "crypto/verifier.h"
#include "enclave/new_key.h"
#include "tests/faults/campaign.h"

// libsecp256k1's, with which points are multiplied: see scripts/engine for its size.
extern "C" const unsigned char secp256k1_ecmult_gen_prec_table[];

namespace bulla {
namespace {

constexpr FaultCampaign::Site kTableRunsMax = 400'000;

constexpr std::string_view kUsage =
    R"(fault_campaign [--full | --runs N] [--only TEXT] [--places]

One bit changed in each run, and what left then. Exit status 1 when anything wrong has left a check.

  --runs N    runs for each check and size, spread evenly over all words and stages (default: 20000)
  --full      a run for each word at each stage: an hour
  --only TEXT the rows whose name begins with it
  --places    also where the faults were that let something out

  fault_campaign --runs 100000 --places
  fault_campaign --only 'recompute, damaged table' --runs 400000
)";

struct Options {
  FaultCampaign::Site runs_max = 20000;
  std::string_view only;
  bool places = false;
};

enum class Outcome { kRight, kRefused, kWrong };

struct Tally {
  FaultCampaign::Site sites = 0;
  FaultCampaign::Site runs = 0;
  std::array<FaultCampaign::Site, 3> outcomes{};
  std::map<std::string, FaultCampaign::Site> wrong_at;

  FaultCampaign::Site wrong() const { return outcomes[static_cast<int>(Outcome::kWrong)]; }
};

// `run` computes, `judge` says what came of it once nothing changes any more.
template <typename Run, typename Judge>
Tally Attack(const Options& options, std::string_view name, const Run& run, const Judge& judge) {
  FaultCampaign campaign;
  Tally tally;
  tally.sites = campaign.Count(run);
  tally.runs = std::min(tally.sites, options.runs_max);
  std::uint64_t seed = RandomUint64();
  for (FaultCampaign::Site i = 0; i < tally.runs; ++i) {
    // Another one of each stretch every time; splitmix64.
    seed += 0x9e3779b97f4a7c15;
    std::uint64_t random = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9;
    random = (random ^ random >> 27) * 0x94d049bb133111eb;
    random ^= random >> 31;
    const FaultCampaign::Site begin = tally.sites * i / tally.runs;
    const FaultCampaign::Site end = tally.sites * (i + 1) / tally.runs;
    const FaultCampaign::Place place =
        campaign.Inject(begin + (random >> 8) % (end - begin), random, run);
    const Outcome outcome = judge();
    ++tally.outcomes[static_cast<std::size_t>(outcome)];
    if (outcome == Outcome::kWrong) ++tally.wrong_at[place.memory + ", at: " + place.stage];
    if (::isatty(2) != 0 && i % 256 == 0) {
      fmt::print(stderr, "\r{}: {} of {} ", name, i, tally.runs);
    }
  }
  if (::isatty(2) != 0) fmt::print(stderr, "\r\033[K");
  return tally;
}

void Print(const Options& options, std::string_view name, std::string_view size,
           const Tally& tally) {
  fmt::print("| {:<24} | {:>4} | {:>9} | {:>9} | {:>9} | {:>9} | {:>9} |\n", name, size,
             tally.sites, tally.runs, tally.outcomes[0], tally.outcomes[1], tally.outcomes[2]);
  if (options.places) {
    for (const auto& [place, count] : tally.wrong_at) fmt::print("    {}  {}\n", count, place);
  }
  std::fflush(stdout);
}

std::unique_ptr<Signer> NewSigner(SignatureCheck check) {
  ByteArray<Signer::kSeedBytes> seed;
  FillRandom(seed);
  return std::move(Signer::Create(seed, check)).value();
}

// A batch of jobs in memory that changes, and what should come of them, in memory that does not.
class SigningAttack {
 public:
  SigningAttack(SignatureCheck check, std::size_t count)
      : signer_(NewSigner(check)), keys_(count), points_(count), digests_(count), jobs_(count) {
    for (std::size_t i = 0; i < count; ++i) {
      FillRandom(keys_[i].Expose());
      points_[i] = *signer_->DerivePublic(keys_[i]);
      FillRandom(digests_[i]);
      wanted_keys_.push_back(keys_[i].Duplicate());
    }
    wanted_points_ = points_;
    wanted_digests_ = digests_;
    const std::unique_ptr<Signer> reference = NewSigner(SignatureCheck::kVerify);
    for (std::size_t i = 0; i < count; ++i) {
      const PublicPoint point = *reference->DerivePublic(keys_[i]);
      RecoverableSignature signature;
      if (!reference->Sign(keys_[i], point, digests_[i], &signature)) std::abort();
      wanted_.push_back(signature);
    }
  }

  void Run() {
    const std::size_t count = jobs_.size();
    for (std::size_t i = 0; i < count; ++i) {
      keys_[i] = wanted_keys_[i].Duplicate();
      jobs_[i] = {.key = &keys_[i], .point = &points_[i], .digest = &digests_[i]};
    }
    points_ = wanted_points_;
    digests_ = wanted_digests_;
    if (FaultCampaign* campaign = FaultCampaign::current()) {
      campaign->Live("keys of the caller", keys_.data(), count * sizeof keys_[0]);
      campaign->Live("points of the caller", points_.data(), count * sizeof points_[0]);
      campaign->Live("digests of the caller", digests_.data(), count * sizeof digests_[0]);
      for (SigningJob& job : jobs_) {
        campaign->Live("signatures of the caller", &job.signature, sizeof job.signature);
      }
    }
    signer_->SignBatch(jobs_);
  }

  Outcome Judge() const {
    bool refused = false;
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      const bool right = jobs_[i].signature == wanted_[i];
      if (jobs_[i].is_signed && !right) return Outcome::kWrong;
      // What is refused leaves nothing behind.
      if (!jobs_[i].is_signed && jobs_[i].signature != RecoverableSignature{}) {
        return Outcome::kWrong;
      }
      refused = refused || !jobs_[i].is_signed;
    }
    return refused ? Outcome::kRefused : Outcome::kRight;
  }

 private:
  const std::unique_ptr<Signer> signer_;
  std::vector<Secret<32>> keys_;
  std::vector<PublicPoint> points_;
  std::vector<Digest32> digests_;
  std::vector<SigningJob> jobs_;
  std::vector<Secret<32>> wanted_keys_;
  std::vector<PublicPoint> wanted_points_;
  std::vector<Digest32> wanted_digests_;
  std::vector<RecoverableSignature> wanted_;
};

// A key that is made and checked, as KeyOperations::Create does.
class CreatingAttack {
 public:
  explicit CreatingAttack(SignatureCheck check) : signer_(NewSigner(check)) {
    FillRandom(dek_.Expose());
    id_ = KeyId::New({});
  }

  void Run() {
    key_.reset();
    opened_.reset();
    const DekLease sealing{DekId{}, dek_.Duplicate(), nullptr};
    const DekLease own{DekId{}, dek_.Duplicate(), nullptr};
    absl::StatusOr<NewKey> key = MakeKey(*signer_, sealing, id_, Bytes(32));
    if (!key.ok()) return;
    absl::StatusOr<OpenedKey> opened = CheckNewKey(*signer_, own, id_, *key);
    if (!opened.ok()) return;
    key_ = std::make_unique<NewKey>(*std::move(key));
    opened_ = std::make_unique<OpenedKey>(*std::move(opened));
  }

  // Whether the blob holds a key that signs for what its owner was told.
  Outcome Judge() const {
    if (key_ == nullptr) return Outcome::kRefused;
    const absl::StatusOr<OpenedKey> kept = OpenSealedKey(dek_, key_->blob, id_, *signer_);
    const PublicKey33& public_key = key_->header.public_key;
    if (!kept.ok() || !Signs(*kept, public_key) ||
        key_->address != ToEip55(AddressOf(public_key).value())) {
      return Outcome::kWrong;
    }
    // What goes on in memory signs as this key or not at all.
    RecoverableSignature signature;
    const bool is_signed = signer_->Sign(opened_->key, opened_->point, kDigest, &signature);
    if (!is_signed) return Outcome::kRefused;
    return VerifySignature(public_key, kDigest, signature.rs) ? Outcome::kRight : Outcome::kWrong;
  }

 private:
  static constexpr Digest32 kDigest{7};
  bool Signs(const OpenedKey& key, const PublicKey33& public_key) const {
    RecoverableSignature signature;
    return signer_->Sign(key.key, key.point, kDigest, &signature) &&
           VerifySignature(public_key, kDigest, signature.rs);
  }

  const std::unique_ptr<Signer> signer_;
  Secret<32> dek_;
  KeyId id_;
  std::unique_ptr<NewKey> key_;
  std::unique_ptr<OpenedKey> opened_;
};

// A fault that stays: a bit of the table of points that every signature of this process is made
// with, also those that are signed one by one. Each damages one signature in 32.
class DamagedTable {
 public:
  explicit DamagedTable(std::size_t bit)
      : byte_(kTable[bit / 8 % kTableBytes]), mask_(1u << bit % 8) {
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(kTable) / page * page;
    const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(kTable) + kTableBytes;
    if (::mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ | PROT_WRITE) != 0) {
      std::perror("mprotect");
      std::abort();
    }
    byte_ = static_cast<std::uint8_t>(byte_ ^ mask_);
  }
  ~DamagedTable() { byte_ = static_cast<std::uint8_t>(byte_ ^ mask_); }
  DamagedTable(const DamagedTable&) = delete;
  DamagedTable& operator=(const DamagedTable&) = delete;

 private:
  static constexpr std::size_t kTableBytes = 43 * 32 * 64;
  static inline std::uint8_t* const kTable =
      const_cast<std::uint8_t*>(secp256k1_ecmult_gen_prec_table);

  volatile std::uint8_t& byte_;
  const unsigned mask_;
};

// As Attack(), with a signature for a run.
Tally AttackTable(const Options& options, SignatureCheck check) {
  constexpr std::size_t kBatchesPerBit = 64;
  constexpr std::size_t kBatch = Signer::kBatchMax;
  const std::unique_ptr<Signer> signer = NewSigner(check);
  Secret<32> key;
  FillRandom(key.Expose());
  const PublicPoint point = *signer->DerivePublic(key);
  const PublicKey33 public_key = signer->Compress(point);
  std::array<Digest32, kBatch> digests;
  std::array<SigningJob, kBatch> jobs;
  Tally tally;
  while (tally.runs < options.runs_max && tally.runs < kTableRunsMax) {
    const DamagedTable damaged(RandomUint64() % (43 * 32 * 64 * 8));
    for (std::size_t batch = 0; batch < kBatchesPerBit; ++batch) {
      for (std::size_t i = 0; i < kBatch; ++i) {
        FillRandom(digests[i]);
        jobs[i] = {.key = &key, .point = &point, .digest = &digests[i]};
      }
      signer->SignBatch(jobs);
      for (std::size_t i = 0; i < kBatch; ++i) {
        const absl::StatusOr<PublicKey33> recovered =
            RecoverPublicKey(digests[i], jobs[i].signature);
        const bool right = recovered.ok() && *recovered == public_key;
        const Outcome outcome = !jobs[i].is_signed ? Outcome::kRefused
                                : right            ? Outcome::kRight
                                                   : Outcome::kWrong;
        ++tally.outcomes[static_cast<std::size_t>(outcome)];
        ++tally.runs;
      }
    }
  }
  tally.sites = 43 * 32 * 64 / 8;
  return tally;
}

// Whether nothing wrong has left a check, and something where there is none.
bool RunAll(const Options& options) {
  struct {
    SignatureCheck check;
    std::string_view name;
  } constexpr kChecks[] = {{SignatureCheck::kRecompute, "recompute"},
                           {SignatureCheck::kVerify, "verify"},
                           {SignatureCheck::kNone, "none"}};
  fmt::print("| {:<24} | {:>4} | {:>9} | {:>9} | {:>9} | {:>9} | {:>9} |\n", "check", "size",
             "words", "runs", "right", "refused", "wrong");
  fmt::print("|---|--:|--:|--:|--:|--:|--:|\n");
  bool as_promised = true;
  const auto row = [&](const std::string& name, std::size_t size, bool may_leave, auto attack) {
    if (!name.starts_with(options.only)) return;
    const Tally tally = attack();
    Print(options, name, fmt::to_string(size), tally);
    as_promised = as_promised && (tally.wrong() == 0) == !may_leave;
  };
  for (const auto& checked : kChecks) {
    const SignatureCheck check = checked.check;
    const std::string_view name = checked.name;
    const bool may_leave = check == SignatureCheck::kNone;
    for (std::size_t count : {1u, 2u, 4u, 16u}) {
      row(std::string(name), count, may_leave, [&] {
        SigningAttack attack(check, count);
        return Attack(
            options, name, [&] { attack.Run(); }, [&] { return attack.Judge(); });
      });
    }
    row(fmt::format("{}, damaged table", name), Signer::kBatchMax, may_leave,
        [&] { return AttackTable(options, check); });
    row(fmt::format("{}, a new key", name), 1, may_leave, [&] {
      CreatingAttack attack(check);
      return Attack(
          options, name, [&] { attack.Run(); }, [&] { return attack.Judge(); });
    });
  }
  return as_promised;
}

int Main(std::span<char* const> arguments) {
  Options options;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "--full") {
      options.runs_max = ~FaultCampaign::Site{0};
    } else if (argument == "--runs" && i + 1 < arguments.size()) {
      options.runs_max = std::strtoull(arguments[++i], nullptr, 10);
    } else if (argument == "--only" && i + 1 < arguments.size()) {
      options.only = arguments[++i];
    } else if (argument == "--places") {
      options.places = true;
    } else if (argument == "--help" || argument == "-h") {
      fmt::print("{}", kUsage);
      return 0;
    } else {
      fmt::print(stderr, "fault_campaign: unknown argument '{}'\n{}", argument, kUsage);
      return 2;
    }
  }
  if (options.runs_max == 0) {
    fmt::print(stderr, "fault_campaign: --runs: want a number from 1\n");
    return 2;
  }
  return RunAll(options) ? 0 : 1;
}

}  // namespace
}  // namespace bulla

int main(int argc, char** argv) { return bulla::Main({argv, static_cast<std::size_t>(argc)}); }
