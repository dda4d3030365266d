#pragma once

// The admin listener: GET /healthz, /readyz, /readyz/sign, /metrics, /status, /keys and /enclaves.
// For probes, scrapers and operators; it shows nothing secret and changes nothing. It is a listener
// of its own so that it can be bound to loopback, and still answers when the public one is at its
// limit. A connection that is idle gives its place up to a newcomer, so a probe always finds room.
//
// Beside it a Unix socket, where POST, PATCH and DELETE /enclaves also add an enclave, change its
// weight and remove it. An enclave is sent the credentials for KMS, so who may add one may have
// them: the socket's mode is 0600, and whoever connects is asked of the kernel to be root or the
// gateway's own user (ADR 18). TCP says nothing about who calls, on loopback neither.
//
// An enclave is named in the body, since its address contains slashes.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/metrics.h"
#include "base/status.h"
#include "gateway/admin/enclave_change.h"
#include "gateway/frontend/host_rules.h"
#include "store/key_store.h"

namespace bulla {

// Thread-safe, except that Start, Stop and the destructor are for one thread.
class AdminServer {
 public:
  using KeysDone = std::function<void(absl::StatusOr<std::vector<KeyRow>>)>;

  // What it shows and changes. Called on the server's thread; must not block.
  struct Sources {
    // Why this gateway is not ready, in words; empty when it is.
    std::function<std::vector<std::string>()> not_ready_because;
    // The same of signing alone.
    std::function<std::vector<std::string>()> not_ready_to_sign_because;
    // One JSON value.
    std::function<std::string()> status_json;
    // As KeyStore::ListKeys.
    std::function<void(std::optional<KeyId> after, std::size_t limit, KeysDone done)> list_keys;
    // One JSON value.
    std::function<std::string()> enclaves_json;
    // NOT_FOUND, ALREADY_EXISTS, RESOURCE_EXHAUSTED, INVALID_ARGUMENT, CANCELLED: as Fleet's.
    std::function<absl::Status(const EnclaveChange&)> change_enclave;
  };

  struct Options {
    std::string listen;    // HOST:PORT; port 0 picks a free one
    std::string socket;    // path of the Unix socket; empty: none, and nothing can be changed
    HostRules hosts = {};  // for the hosts that requests name
  };

  // `metrics` must outlive it.
  AdminServer(Options options, Sources sources, Metrics& metrics);
  ~AdminServer();  // Stop()

  // Returns the address that TCP listens on, HOST:PORT with the port chosen. Call once.
  absl::StatusOr<std::string> Start();
  // Closes everything, removes the socket and joins the thread; a list of keys under way is
  // dropped. Idempotent.
  void Stop();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace bulla
