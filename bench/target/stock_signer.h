#pragma once

// The yardstick: one call of secp256k1_ecdsa_sign of the distribution's own library, loaded beside
// the one that this program is linked with. Costs that are given as a multiple of it can be
// compared across machines, and across the moods of one machine.

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace bulla {

// Confined to one thread.
class StockSigner {
 public:
  // Where the distribution installs it; package libsecp256k1-1.
  static std::filesystem::path InstalledFile();

  // NOT_FOUND when it is not there, FAILED_PRECONDITION when it is not what it should be; both name
  // the file.
  static absl::StatusOr<StockSigner> Load(const std::filesystem::path& file = InstalledFile());

  StockSigner(StockSigner&& other) noexcept;
  StockSigner& operator=(StockSigner&&) = delete;
  ~StockSigner();

  // The file that was loaded, without symbolic links: its name tells the version.
  const std::string& file() const { return file_; }

  static constexpr std::size_t kRounds = 5;

  // CPU time of one call: the mean of a round of some 20 ms, on this thread.
  Duration MeasureRound();
  // kRounds of them, behind what is in `rounds`: to be taken before and after what is compared.
  void AddRounds(std::vector<Duration>& rounds);

 private:
  // include/secp256k1.h, whose declarations are those of the library that is linked.
  using ContextCreate = void* (*)(unsigned flags);
  using ContextDestroy = void (*)(void* context);
  using Sign = int (*)(const void* context, void* signature, const unsigned char* digest,
                       const unsigned char* secret, void* nonce_function, const void* data);

  StockSigner() = default;

  std::string file_;
  void* library_ = nullptr;
  void* context_ = nullptr;
  ContextDestroy destroy_ = nullptr;
  Sign sign_ = nullptr;
  std::uint64_t calls_ = 0;  // each signs another digest
};

// The upper one of two in the middle. Requires: there are rounds.
Duration MedianOf(std::span<const Duration> rounds);

}  // namespace bulla
