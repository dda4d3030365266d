#include "enclave/enclave_config.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include "base/log.h"
#include "wire/address.h"

namespace bulla {

namespace {

// What regions, host names and ARNs of KMS are made of, besides letters and digits.
constexpr std::string_view kMarks = "-._:/";

bool IsOfAwsNames(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         kMarks.find(c) != std::string_view::npos;
}

std::optional<SignatureCheck> ParseSignatureCheck(std::string_view text) {
  if (text == "recompute") return SignatureCheck::kRecompute;
  if (text == "verify") return SignatureCheck::kVerify;
  if (text == "none") return SignatureCheck::kNone;
  return std::nullopt;
}

}  // namespace

void RegisterSettings(EnclaveConfig& config, ConfigReader& reader) {
  reader.AddString("listen", &config.listen,
                   "Where gateways connect: vsock:CID:PORT, unix:/PATH or tcp:HOST:PORT. "
                   "CID 4294967295 is any.");
  reader.AddString("platform", &config.platform,
                   "nitro, or simulated for development: production key policies refuse that.");
  reader.AddString("log_level", &config.log_level, "debug, info, warn or error.");
  reader.AddString("signature_check", &config.signature_check,
                   "How each signature is checked before it leaves: recompute, verify (slower), or "
                   "none, for measuring on a simulated platform.");
  reader.AddInteger("workers", &config.workers, "threads", 0, 256,
                    "Signing threads, each pinned to a CPU; 0 is one for each vCPU.");
  reader.AddInteger("queue_max", &config.queue_max, "jobs", 1, 4096,
                    "Jobs that wait for a worker. What finds it full is refused at once.");
  RegisterKeyPolicy(config.policy, reader);
  reader.AddInteger(
      "locked_memory_kib", &config.locked_memory_kib, "KiB", 64, 64 * 1024 * 1024,
      "Memory for plain keys, locked and left out of core dumps: 32 bytes for each "
      "key that can be WARM. Needs RLIMIT_MEMLOCK of that, 512 KiB, and 256 KiB a worker.");
  reader.AddString("kms.dial", &config.kms_dial, "The gateway's KMS forwarder, as `listen`.");
  reader.AddString("kms.host", &config.kms_host,
                   "KMS's name, as its certificate has it: kms.eu-central-1.amazonaws.com.");
  reader.AddString("kms.region", &config.kms_region, "The region that requests are signed for.");
  reader.AddString("kms.key_arn", &config.kms_key_arn,
                   "The CMK. Replies that name another are refused.");
  reader.AddString("kms.ca_file", &config.kms_ca_file,
                   "Roots that KMS's certificate may have, PEM.");
  reader.AddString("simulated.root_dir", &config.simulated_root_dir,
                   "Root of the simulated attestation documents (bulla-enclave "
                   "--make-simulated-root).");
  reader.AddString("simulated.image", &config.simulated_image,
                   "From this text come the simulated measurements PCR0 to PCR2.");
}

absl::Status Validate(const EnclaveConfig& config, const ConfigReader& reader) {
  if (config.platform != "nitro" && config.platform != "simulated") {
    return absl::InvalidArgumentError(fmt::format("{}: got \"{}\", want nitro or simulated",
                                                  reader.Where("platform"), config.platform));
  }
  if (!ParseLogLevel(config.log_level)) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: got \"{}\", want {}", reader.Where("log_level"), config.log_level, kLogLevelsWanted));
  }
  for (const auto& [key, text] :
       {std::pair{"listen", &config.listen}, std::pair{"kms.dial", &config.kms_dial}}) {
    absl::StatusOr<Address> address = Address::Parse(*text);
    absl::Status usable =
        address.ok() ? CheckAddressOn(config.platform, *address) : address.status();
    if (!usable.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: {}", reader.Where(key), std::string(usable.message())));
    }
  }
  BULLA_RETURN_IF_ERROR(CheckKeyPolicy(config.policy));
  bool simulated = config.platform == "simulated";
  if (!ParseSignatureCheck(config.signature_check)) {
    return absl::InvalidArgumentError(fmt::format("{}: got \"{}\", want recompute, verify or none",
                                                  reader.Where("signature_check"),
                                                  config.signature_check));
  }
  if (!simulated && SignatureCheckOf(config) == SignatureCheck::kNone) {
    return absl::InvalidArgumentError(
        fmt::format("{}: none has no place on platform {}; want recompute or verify",
                    reader.Where("signature_check"), config.platform));
  }
  if (simulated == config.simulated_root_dir.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} on platform {}", reader.Where("simulated.root_dir"),
                    simulated ? "is needed" : "has no place", config.platform));
  }
  for (const auto& [key, value] :
       {std::pair{"kms.host", &config.kms_host}, std::pair{"kms.region", &config.kms_region},
        std::pair{"kms.key_arn", &config.kms_key_arn}}) {
    if (value->empty()) {
      return absl::InvalidArgumentError(fmt::format("{}: is needed", reader.Where(key)));
    }
    // They go into header fields and JSON of the requests to KMS.
    if (!std::ranges::all_of(*value, IsOfAwsNames)) {
      return absl::InvalidArgumentError(
          fmt::format("{}: want letters, digits and any of \"{}\"", reader.Where(key), kMarks));
    }
  }
  return absl::OkStatus();
}

SignatureCheck SignatureCheckOf(const EnclaveConfig& config) {
  return *ParseSignatureCheck(config.signature_check);
}

}  // namespace bulla
