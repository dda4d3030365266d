#pragma once

// What `bulla dev` starts and with which configuration: paths, argument lists and YAML texts. Pure;
// cli/dev.cc carries it out.

#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "cli/supervisor.h"

namespace bulla {

struct DevOptions {
  std::filesystem::path data_dir = "bulla-data";
  std::string http = "127.0.0.1:8080";  // port 0 picks a free one
  std::string grpc = "127.0.0.1:9090";
  std::string admin = "127.0.0.1:9091";
  int enclaves = 2;
  int workers = 0;                            // of each enclave; 0 is one for each CPU
  std::string signature_check = "recompute";  // or verify, or none
  std::string batching = "on";                // or off: every signature travels alone
  bool smoke = false;                         // stop after the first signature
  std::filesystem::path program_dir;  // where bulla-kms, bulla-enclave and bulla-gateway are
};
inline constexpr int kDevEnclavesMax = 16;  // each is a process with a thread per CPU
inline constexpr int kDevWorkersMax = 256;

// Where everything lies. All paths are absolute.
struct DevPaths {
  std::filesystem::path data;     // DIR, 0700
  std::filesystem::path lock;     // held while a `bulla dev` runs here
  std::filesystem::path run;      // configurations, ready files
  std::filesystem::path sockets;  // `run`, or a short folder elsewhere: see SocketPathsFit
  std::filesystem::path logs;
  std::filesystem::path nsm;  // the simulated NSM's root
  std::filesystem::path kms;  // bulla-kms: keys, tls/ca.pem, credentials.json

  std::filesystem::path Endpoints() const;
  std::filesystem::path Database() const { return data / "bulla.db"; }
  std::filesystem::path Credentials() const { return kms / "credentials.json"; }
  std::filesystem::path EnclaveSocket(int number) const;
  std::filesystem::path AdminSocket() const { return sockets / "admin.sock"; }
  std::filesystem::path ForwarderSocket() const { return sockets / "kms-forwarder.sock"; }
};
// INVALID_ARGUMENT for a name that the configurations could not hold: empty, or not UTF-8;
// UNAVAILABLE where the current folder has been deleted.
absl::StatusOr<DevPaths> PathsOf(const std::filesystem::path& data_dir);

// A Unix socket's path has at most 107 bytes (sun_path, without its end). False when one would be
// longer in `paths.sockets`.
bool SocketPathsFit(const DevPaths& paths);

std::string EnclaveName(int number);  // "enclave-1"; numbers begin at 1

// What the child processes are, given where bulla-kms listens ("127.0.0.1:0" before it was asked).
ChildSpec SimulatedRootSpec(const DevOptions& options, const DevPaths& paths);
ChildSpec KmsSpec(const DevOptions& options, const DevPaths& paths, const std::string& listen);
ChildSpec EnclaveSpec(const DevOptions& options, const DevPaths& paths, int number);
ChildSpec GatewaySpec(const DevOptions& options, const DevPaths& paths);

// Their configurations, and where these lie.
std::filesystem::path EnclaveConfigPath(const DevPaths& paths, int number);
std::filesystem::path GatewayConfigPath(const DevPaths& paths);
std::string EnclaveConfig(const DevOptions& options, const DevPaths& paths, int number,
                          const std::string& kms_key_arn);
std::string GatewayConfig(const DevOptions& options, const DevPaths& paths,
                          const std::string& kms_address);

}  // namespace bulla
