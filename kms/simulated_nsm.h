#pragma once

// A Nitro Secure Module in software, for development and tests: the same bytes in and out, the same
// documents, under a root of our own. It proves nothing about the machine, says "simulated"
// wherever it is shown, and no verifier that pins AWS's root takes its documents.

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "kms/nsm.h"

namespace bulla {

// Makes `dir` (0700), `dir`/root.key (0600) and `dir`/root.pem where they are missing: a P-384
// root, valid for ten years. Safe to call from several processes at once.
absl::Status MakeSimulatedRoot(const std::string& dir, WallTime now);

// The measurements of a simulated enclave: PCR0-2 derived from `label` in the manner of a real
// image, the rest zero. An empty label gives a debug enclave's, all zero.
std::array<Pcr, kPcrCount> SimulatedPcrs(std::string_view label);

// Thread-safe.
class SimulatedNsm final : public Nsm {
 public:
  // `root_dir` is MakeSimulatedRoot's. PCR0 to 15 are locked, as on the device. `clock` outlives
  // the result.
  static absl::StatusOr<std::unique_ptr<SimulatedNsm>> Create(
      const std::string& root_dir, const std::array<Pcr, kPcrCount>& pcrs, const Clock& clock);
  ~SimulatedNsm() override;

  std::string_view platform() const override { return "simulated"; }

 private:
  class Module;
  explicit SimulatedNsm(std::unique_ptr<Module> module);
  absl::StatusOr<Bytes> Exchange(ByteSpan request) override;

  std::unique_ptr<Module> module_;
};

}  // namespace bulla
