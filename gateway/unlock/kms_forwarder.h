#pragma once

// The way from the enclaves to KMS: an enclave has no network, so the gateway carries the bytes of
// its TLS session to the configured endpoint and nowhere else. It sees ciphertext only.

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/status.h"
#include "wire/address.h"

namespace bulla {

class KmsForwarder {
 public:
  struct Options {
    Address listen;
    std::string target_host;  // a name or an address; resolved again for every connection
    std::string target_port;
    std::function<void()> on_accept_pause = {};  // as Acceptor's
  };

  static absl::StatusOr<std::unique_ptr<KmsForwarder>> Start(Options options);
  ~KmsForwarder();  // closes every connection, joins

 private:
  class Impl;
  explicit KmsForwarder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bulla
