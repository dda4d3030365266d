#pragma once

// The enclave's settings. In production the file is part of the measured image, so the parent
// cannot change what it says: which CMK, whose certificate, how long a secret lives.

#include <string>

#include "base/clock.h"
#include "base/config.h"
#include "crypto/signer.h"
#include "wire/key_policy.h"

namespace bulla {

struct EnclaveConfig {
  std::string listen = "vsock:4294967295:7000";
  std::string platform = "nitro";
  std::string log_level = "info";
  std::string signature_check = "recompute";
  std::int64_t workers = 0;
  std::int64_t queue_max = 64;
  KeyPolicy policy;
  std::int64_t locked_memory_kib = 32 * 1024;
  std::string kms_dial = "vsock:3:8000";
  std::string kms_host;
  std::string kms_region;
  std::string kms_key_arn;
  std::string kms_ca_file = "/etc/ssl/certs/ca-certificates.crt";
  std::string simulated_root_dir;
  std::string simulated_image = "bulla-enclave";
};

// Registers every setting, for loading and for docs/config.md.
void RegisterSettings(EnclaveConfig& config, ConfigReader& reader);

// What the fields' own limits do not say: the platform's name, and that simulated parts and
// unchecked signatures belong to a simulated platform.
absl::Status Validate(const EnclaveConfig& config, const ConfigReader& reader);

// Requires: a valid configuration.
SignatureCheck SignatureCheckOf(const EnclaveConfig& config);

}  // namespace bulla
