// bulla-enclave: the daemon that holds keys. In a Nitro Enclave it is the whole application; in
// development it is a process like any other, with a simulated NSM.

#include <cstdio>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/build_info.h"
#include "base/command_line.h"
#include "base/daemon.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/ticker.h"
#include "crypto/process_hardening.h"
#include "crypto/signer.h"
#include "enclave/dek_table.h"
#include "enclave/enclave_config.h"
#include "enclave/key_cache.h"
#include "enclave/key_operations.h"
#include "enclave/server.h"
#include "enclave/service.h"
#include "enclave/workers.h"
#include "kms/kms_client.h"
#include "kms/nsm_device.h"
#include "kms/recipient.h"
#include "kms/simulated_nsm.h"

namespace bulla {
namespace {

constexpr std::size_t kCaFileBytesMax = 1 << 20;
constexpr auto kKmsDialTimeout = std::chrono::seconds(3);

constexpr std::chrono::milliseconds InMs(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration);
}

constexpr char kExamples[] = R"(
Examples:
  bulla-enclave --config /etc/bulla/enclave.yaml
  bulla-enclave --make-simulated-root /tmp/nsm    (development: a root for simulated documents)
The settings, each with its default: docs/config.md.)";

struct Flags {
  std::string config_file;
  std::string ready_file;
  std::string simulated_root_to_make;
};

absl::StatusOr<EnclaveConfig> LoadConfig(const std::string& path) {
  EnclaveConfig config;
  ConfigReader reader;
  RegisterSettings(config, reader);
  BULLA_RETURN_IF_ERROR(reader.Load(path));
  BULLA_RETURN_IF_ERROR(Validate(config, reader));
  return config;
}

absl::StatusOr<std::unique_ptr<Signer>> MakeSigner(SignatureCheck check) {
  Secret<Signer::kSeedBytes> seed;
  FillRandom(seed.Expose());
  return Signer::Create(seed.Expose(), check);
}

absl::StatusOr<std::unique_ptr<Nsm>> OpenNsm(const EnclaveConfig& config, const Clock& clock) {
  if (config.platform == "simulated") {
    LogWarn("platform_simulated", {{"meaning", "attestation proves nothing about this machine"}});
    return SimulatedNsm::Create(config.simulated_root_dir, SimulatedPcrs(config.simulated_image),
                                clock);
  }
  return NsmDevice::Open();
}

absl::StatusOr<std::unique_ptr<KmsClient>> MakeKmsClient(const EnclaveConfig& config, Nsm& nsm,
                                                         const Recipient& recipient,
                                                         const Clock& clock) {
  BULLA_ASSIGN_OR_RETURN(Address forwarder, Address::Parse(config.kms_dial));
  BULLA_ASSIGN_OR_RETURN(std::string ca_pem, ReadTextFile(config.kms_ca_file, kCaFileBytesMax));
  return KmsClient::Create(
      {.dial = [forwarder] { return DialBlocking(forwarder, kKmsDialTimeout); },
       .kms_host = config.kms_host,
       .region = config.kms_region,
       .key_arn = config.kms_key_arn,
       .ca_pem = std::move(ca_pem),
       .nsm = &nsm,
       .recipient = &recipient,
       .clock = &clock});
}

// In production a secret that could be swapped out is a reason not to start.
absl::Status CheckLockedMemory(const EnclaveConfig& config, LockedMemory memory) {
  absl::Status status = memory.Check();
  if (status.ok() || config.platform != "simulated") return status;
  LogWarn("memory_not_locked", {{"reason", std::string(status.message())}});
  return absl::OkStatus();
}

absl::Status Serve(const Flags& flags) {
  StopSignals stop;
  RaiseDescriptorLimit();
  BULLA_RETURN_IF_ERROR(HardenProcess());
  BULLA_ASSIGN_OR_RETURN(EnclaveConfig config, LoadConfig(flags.config_file));
  SetLogLevel(*ParseLogLevel(config.log_level));
  BULLA_ASSIGN_OR_RETURN(Address address, Address::Parse(config.listen));

  RealClock clock;
  const MonotonicTime engine_begun = clock.Now();
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<Signer> signer,
                         MakeSigner(SignatureCheckOf(config)));  // tests itself
  const Duration engine_init = clock.Now() - engine_begun;
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<Nsm> nsm, OpenNsm(config, clock));
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<Recipient> recipient, Recipient::Generate());
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<KmsClient> kms,
                         MakeKmsClient(config, *nsm, *recipient, clock));

  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<DekTable> deks, DekTable::Create(config.policy));
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<KeyCache> cache,
                         KeyCache::Create(static_cast<std::size_t>(config.locked_memory_kib) * 1024,
                                          config.policy, *deks, clock.Now()));
  BULLA_RETURN_IF_ERROR(CheckLockedMemory(config, deks->locked_memory() + cache->locked_memory()));
  KeyOperations operations(
      *signer, *cache, *deks, [&nsm] { return nsm->GetRandom(); }, clock);
  operations.counters().Increment(
      "engine_init_us", static_cast<std::uint64_t>(engine_init / std::chrono::microseconds(1)));
  Ticker expiry("expiry", InMs(KeyCache::kWipeInterval), InMs(SingleFlight::kTick),
                [&operations] { return operations.Advance(); });
  operations.OnWaiting([&expiry] { expiry.Hurry(); });
  std::size_t threads =
      config.workers > 0 ? static_cast<std::size_t>(config.workers) : UsableCpus();
  Workers workers({.threads = threads, .queue_max = static_cast<std::size_t>(config.queue_max)},
                  operations);
  EnclaveService service({workers, operations, *cache, *deks, *kms, clock},
                         std::string(nsm->platform()), threads);
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<EnclaveServer> server,
                         EnclaveServer::Start(address, service, clock));

  const BuildInfo build = ThisBuild();
  LogInfo("enclave_serving", {{"version", build.version},
                              {"commit", build.commit},
                              {"listen", config.listen},
                              {"platform", nsm->platform()},
                              {"workers", threads},
                              {"engine", build.engine},
                              {"signature_check", config.signature_check}});
  if (!flags.ready_file.empty()) {
    BULLA_RETURN_IF_ERROR(WriteFileAtomically(
        flags.ready_file, boost::json::serialize(boost::json::object{{"listen", config.listen}})));
  }
  LogInfo("enclave_stopping", {{"signal", stop.WaitBlocking()}});
  return absl::OkStatus();
}

}  // namespace
}  // namespace bulla

int main(int argc, char** argv) {
  bulla::HoldStandardDescriptors();
  bulla::Flags flags;
  bulla::ProgramOptions options("The enclave's daemon: holds keys, signs digests.", "bulla-enclave",
                                bulla::kExamples);
  options.AddText("--config", flags.config_file, "The settings, YAML");
  options.AddText("--ready-file", flags.ready_file, "Written as {\"listen\"} once serving");
  options.AddText("--make-simulated-root", flags.simulated_root_to_make,
                  "Make a root for simulated attestation documents in this directory, and exit",
                  {.excludes = "--config"});
  if (std::optional<int> status =
          options.Parse(bulla::ThisBuild(), argc, argv, std::cout, std::cerr)) {
    return *status;
  }
  if (flags.config_file.empty() && flags.simulated_root_to_make.empty()) {
    std::fputs("bulla-enclave: --config FILE is missing\n  next: bulla-enclave --help\n", stderr);
    return bulla::kUsageStatus;
  }

  absl::Status status =
      flags.simulated_root_to_make.empty()
          ? bulla::Serve(flags)
          : bulla::MakeSimulatedRoot(flags.simulated_root_to_make, bulla::RealClock().WallNow());
  if (!status.ok()) {
    bulla::LogError("enclave_failed", {{"reason", status.ToString()}});
    std::fprintf(stderr, "bulla-enclave: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
