#pragma once

// The commands that talk to a running service: create, sign, verify, keys, status, enclaves. Each
// prints its result and returns the exit status.

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "cli/console.h"
#include "cli/endpoints.h"
#include "cli/http_client.h"

namespace bulla {

// One of the service's listeners, and somewhere to complain.
class ServiceCaller {
 public:
  ServiceCaller(FoundEndpoint found, std::chrono::milliseconds timeout, const Console& console)
      : found_(std::move(found)), timeout_(timeout), console_(console) {}

  // A 2xx answer, or one of status `also_accept`. Otherwise nothing: what went wrong has been
  // printed, and exit_code() says how to end. Blocks up to the timeout.
  std::optional<HttpReply> CallBlocking(const HttpRequest& request, int also_accept = 0);
  // From now on, who is told to come back does, as long as that takes no longer than this in all.
  void set_patience(std::chrono::milliseconds patience) { patience_ = patience; }

  ExitCode exit_code() const { return exit_code_; }
  const HttpUrl& url() const { return found_.url; }

 private:
  ExitCode ExplainNoAnswer(const absl::Status& status) const;
  ExitCode ExplainRefusal(const HttpReply& reply) const;

  const FoundEndpoint found_;
  const std::chrono::milliseconds timeout_;
  std::chrono::milliseconds patience_{0};
  const Console& console_;
  ExitCode exit_code_ = ExitCode::kOk;
};

ExitCode RunCreate(ServiceCaller& service, const std::string& idempotency_key,
                   const Console& console);

ExitCode RunSign(ServiceCaller& service, const std::string& key_id, const std::string& digest,
                 bool der, const Console& console);

// Checks a signature on this machine, with libsecp256k1. The public key is asked for by key id.
ExitCode RunVerifyWithKeyId(ServiceCaller& service, const std::string& key_id,
                            const std::string& digest, const std::string& signature,
                            const Console& console);
// The same with no service at all: the public key is given, in hex.
ExitCode RunVerifyWithPublicKey(const std::string& public_key, const std::string& digest,
                                const std::string& signature, const Console& console);

ExitCode RunShowKey(ServiceCaller& service, const std::string& key_id, const Console& console);
ExitCode RunListKeys(ServiceCaller& admin, int limit, const std::string& after,
                     const Console& console);

ExitCode RunListEnclaves(ServiceCaller& admin, const Console& console);

// What is to be done with the enclave at `address`: "add" with `weight`, or the usual one; "weight"
// with `weight`, percent; "drain", which is weight 0; "remove".
struct EnclaveCommand {
  std::string verb;
  std::string address;
  std::optional<int> weight;
};
ExitCode RunChangeEnclaves(ServiceCaller& admin, const EnclaveCommand& command,
                           const Console& console);

// kTryAgain while the service is up but not ready.
ExitCode RunStatus(ServiceCaller& admin, const Console& console);

}  // namespace bulla
