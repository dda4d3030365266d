#include "bench/target/stock_signer.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

#include <dlfcn.h>

#include "base/check.h"
#include "base/thread.h"
#include "bench/load/answer_log.h"

namespace bulla {
namespace {

// Some 20 ms: long beside a time slice's loss, short beside a phase of load.
constexpr std::uint64_t kCallsPerRound = 500;
// SECP256K1_CONTEXT_SIGN: what every version of the library takes for signing.
constexpr unsigned kContextSign = 0x201;
constexpr std::size_t kSignatureBytes = 64;  // secp256k1_ecdsa_signature
constexpr std::uint64_t kSeed = 1;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kOwnSymbolsFirst = 0;  // the sanitizers' runtimes refuse the flag
#else
// Else a call inside the library could end in a function of the same name in this program.
constexpr int kOwnSymbolsFirst = RTLD_DEEPBIND;
#endif

template <typename Function>
bool Find(void* library, const char* name, Function& out) {
  out = reinterpret_cast<Function>(::dlsym(library, name));
  return out != nullptr;
}

}  // namespace

std::filesystem::path StockSigner::InstalledFile() {
#if defined(__aarch64__)
  return "/usr/lib/aarch64-linux-gnu/libsecp256k1.so.1";
#else
  return "/usr/lib/x86_64-linux-gnu/libsecp256k1.so.1";
#endif
}

absl::StatusOr<StockSigner> StockSigner::Load(const std::filesystem::path& file) {
  std::error_code error;
  const std::string path = std::filesystem::canonical(file, error).string();
  if (error) {
    return absl::NotFoundError(
        fmt::format("{}: {}; the cost is measured against it (Debian: apt-get install "
                    "libsecp256k1-1)",
                    file.string(), error.message()));
  }
  StockSigner signer;
  signer.file_ = path;
  signer.library_ = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | kOwnSymbolsFirst);
  ContextCreate create = nullptr;
  if (signer.library_ == nullptr || !Find(signer.library_, "secp256k1_context_create", create) ||
      !Find(signer.library_, "secp256k1_context_destroy", signer.destroy_) ||
      !Find(signer.library_, "secp256k1_ecdsa_sign", signer.sign_)) {
    const char* why = ::dlerror();  // NOLINT(concurrency-mt-unsafe): of this thread, in glibc
    return absl::FailedPreconditionError(fmt::format("{} is no libsecp256k1: {}", path, why));
  }
  signer.context_ = create(kContextSign);
  if (signer.context_ == nullptr) {
    return absl::FailedPreconditionError(fmt::format("{} makes no context", path));
  }
  return signer;
}

StockSigner::StockSigner(StockSigner&& other) noexcept
    : file_(std::move(other.file_)),
      library_(std::exchange(other.library_, nullptr)),
      context_(std::exchange(other.context_, nullptr)),
      destroy_(other.destroy_),
      sign_(other.sign_),
      calls_(other.calls_) {}

StockSigner::~StockSigner() {
  if (context_ != nullptr) destroy_(context_);
  if (library_ != nullptr) ::dlclose(library_);
}

Duration StockSigner::MeasureRound() {
  constexpr std::array<unsigned char, 32> kSecret{1, 2, 3};  // of nobody
  std::array<unsigned char, kSignatureBytes> signature;
  bool all_good = true;
  Duration before = ThreadCpuTime();
  for (std::uint64_t i = 0; i < kCallsPerRound; ++i) {
    Digest32 digest = DigestOf(kSeed, calls_++);
    all_good &=
        sign_(context_, signature.data(), digest.data(), kSecret.data(), nullptr, nullptr) == 1;
  }
  Duration round = ThreadCpuTime() - before;
  BULLA_CHECK(all_good, "every digest can be signed");
  return round / kCallsPerRound;
}

void StockSigner::AddRounds(std::vector<Duration>& rounds) {
  for (std::size_t i = 0; i < kRounds; ++i) rounds.push_back(MeasureRound());
}

Duration MedianOf(std::span<const Duration> rounds) {
  std::vector<Duration> sorted(rounds.begin(), rounds.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

}  // namespace bulla
