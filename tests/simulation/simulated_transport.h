#pragma once

// gateway/link/transport to the enclaves of the simulation: frames and calls arrive after a while,
// and are lost with the process that they were sent to.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gateway/link/transport.h"
#include "tests/simulation/enclave_model.h"
#include "tests/simulation/world.h"

namespace bulla {

class SimulatedTransport final : public EnclaveTransport {
 public:
  explicit SimulatedTransport(World& world) : world_(world) {}

  static Address AddressOf(const std::string& name) { return *Address::Parse("unix:/" + name); }
  void Add(EnclaveModel& enclave) { enclaves_[AddressOf(enclave.name()).ToString()] = {&enclave}; }
  // The enclave was killed: its connections break one after the other.
  void OnKilled(const EnclaveModel& enclave);
  // What is written to the first of its streams takes so much longer from now on.
  void DelayStream(const EnclaveModel& enclave, Duration delay);
  // One of its streams breaks.
  void CutStream(const EnclaveModel& enclave);

  absl::StatusOr<std::shared_ptr<ControlConnection>> DialControlBlocking(
      const Address& address) override;
  absl::StatusOr<std::unique_ptr<FrameConnection>> DialFramesBlocking(
      const Address& address) override;

  struct Frames;   // one session's
  struct Control;  // one control connection's

 private:
  struct End {
    EnclaveModel* enclave = nullptr;
    std::vector<std::weak_ptr<Frames>> frames;
    std::vector<std::weak_ptr<Control>> controls;
  };
  // Null when none is open.
  std::shared_ptr<Frames> FirstStream(const EnclaveModel& enclave);
  absl::StatusOr<End*> Dial(const Address& address);

  World& world_;
  std::map<std::string, End> enclaves_;
  std::uint64_t last_control_ = 0;
};

}  // namespace bulla
