#pragma once

// TLS certificates for development: an authority whose key is thrown away once it has signed one
// certificate, so that trusting it means trusting this server and no other.

#include <string>

#include "base/clock.h"
#include "base/status.h"

namespace bulla {

struct TlsFiles {
  std::string ca;           // for clients to trust
  std::string certificate;  // what the server shows
  std::string key;          // 0600
};

// ca.pem, cert.pem and key.pem in `dir`, made anew where one is missing, has expired, or does not
// name kms.<region>.amazonaws.com. The certificate also names localhost and 127.0.0.1.
absl::StatusOr<TlsFiles> MakeTlsIdentity(const std::string& dir, const std::string& region,
                                         WallTime now);

}  // namespace bulla
