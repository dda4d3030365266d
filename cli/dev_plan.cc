#include "cli/dev_plan.h"

#include <fmt/format.h>
#include <string_view>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <boost/json/value.hpp>

#include "base/errno_text.h"
#include "cli/endpoints.h"

namespace bulla {
namespace {

// The simulated host is in no AWS region; this one has the KMS name that enclaves expect.
constexpr std::string_view kRegion = "eu-central-1";
constexpr std::size_t kSocketPathBytesMax = 107;

// A double-quoted scalar: JSON's are YAML's too.
std::string Quoted(std::string_view text) {
  return boost::json::serialize(boost::json::value(text));
}

std::string Unix(const std::filesystem::path& path) { return "unix:" + path.string(); }

ChildSpec SpecOf(const DevPaths& paths, const std::string& name, std::vector<std::string> argv) {
  return {.name = name,
          .argv = std::move(argv),
          .log_file = paths.logs / (name + ".log"),
          .ready_file = paths.run / (name + ".json")};
}

}  // namespace

std::filesystem::path DevPaths::Endpoints() const { return data / kEndpointsFile; }

std::filesystem::path DevPaths::EnclaveSocket(int number) const {
  return sockets / (EnclaveName(number) + ".sock");
}

absl::StatusOr<DevPaths> PathsOf(const std::filesystem::path& data_dir) {
  if (data_dir.empty())
    return absl::InvalidArgumentError(
        "--data: got nothing, want the name of a folder, such as bulla-data");
  std::error_code error;
  const std::filesystem::path data = std::filesystem::absolute(data_dir, error).lexically_normal();
  if (error) {
    return absl::UnavailableError(fmt::format("--data {}: the current folder: {}",
                                              data_dir.string(), ErrnoText(error.value())));
  }
  boost::json::error_code not_utf8;
  boost::json::parse(Quoted(data.string()), not_utf8);
  if (not_utf8) return absl::InvalidArgumentError("--data: the folder's name is not UTF-8");
  return DevPaths{.data = data,
                  .lock = data / "lock",
                  .run = data / "run",
                  .sockets = data / "run",
                  .logs = data / "logs",
                  .nsm = data / "nsm",
                  .kms = data / "kms"};
}

bool SocketPathsFit(const DevPaths& paths) {
  return paths.ForwarderSocket().string().size() <= kSocketPathBytesMax &&
         paths.EnclaveSocket(kDevEnclavesMax).string().size() <= kSocketPathBytesMax;
}

std::string EnclaveName(int number) { return fmt::format("enclave-{}", number); }

ChildSpec SimulatedRootSpec(const DevOptions& options, const DevPaths& paths) {
  return SpecOf(paths, "simulated-root",
                {options.program_dir / "bulla-enclave", "--make-simulated-root", paths.nsm});
}

ChildSpec KmsSpec(const DevOptions& options, const DevPaths& paths, const std::string& listen) {
  ChildSpec spec = SpecOf(paths, "kms", {});
  spec.argv = {options.program_dir / "bulla-kms",
               "--listen",
               listen,
               "--data",
               paths.kms,
               "--region",
               std::string(kRegion),
               "--tls-dir",
               paths.kms / "tls",
               "--attestation-root",
               paths.nsm / "root.pem",
               "--credentials-file",
               paths.Credentials(),
               "--create-key-if-empty",
               "--ready-file",
               spec.ready_file};
  return spec;
}

ChildSpec EnclaveSpec(const DevOptions& options, const DevPaths& paths, int number) {
  ChildSpec spec = SpecOf(paths, EnclaveName(number), {});
  spec.argv = {options.program_dir / "bulla-enclave", "--config", EnclaveConfigPath(paths, number),
               "--ready-file", spec.ready_file};
  return spec;
}

ChildSpec GatewaySpec(const DevOptions& options, const DevPaths& paths) {
  ChildSpec spec = SpecOf(paths, "gateway", {});
  spec.argv = {options.program_dir / "bulla-gateway", "--config", GatewayConfigPath(paths),
               "--ready-file", spec.ready_file};
  return spec;
}

std::filesystem::path EnclaveConfigPath(const DevPaths& paths, int number) {
  return paths.run / (EnclaveName(number) + ".yaml");
}

std::filesystem::path GatewayConfigPath(const DevPaths& paths) {
  return paths.run / "gateway.yaml";
}

std::string EnclaveConfig(const DevOptions& options, const DevPaths& paths, int number,
                          const std::string& kms_key_arn) {
  return fmt::format(
      "listen: {}\n"
      "platform: simulated\n"
      "simulated:\n"
      "  root_dir: {}\n"
      "kms:\n"
      "  dial: {}\n"
      "  host: kms.{}.amazonaws.com\n"
      "  region: {}\n"
      "  key_arn: {}\n"
      "  ca_file: {}\n"
      "workers: {}\n"
      "signature_check: {}\n",
      Quoted(Unix(paths.EnclaveSocket(number))), Quoted(paths.nsm.string()),
      Quoted(Unix(paths.ForwarderSocket())), kRegion, kRegion, Quoted(kms_key_arn),
      Quoted((paths.kms / "tls" / "ca.pem").string()), options.workers, options.signature_check);
}

std::string GatewayConfig(const DevOptions& options, const DevPaths& paths,
                          const std::string& kms_address) {
  std::string enclaves;
  for (int number = 1; number <= options.enclaves; ++number) {
    enclaves += fmt::format("  - {}\n", Quoted(Unix(paths.EnclaveSocket(number))));
  }
  return fmt::format(
      "platform: simulated\n"
      "http:\n"
      "  listen: {}\n"
      "grpc:\n"
      "  listen: {}\n"
      "admin:\n"
      "  listen: {}\n"
      "  socket: {}\n"
      "store: {}\n"
      "enclaves:\n"
      "{}"
      "{}"
      "kms_forwarder:\n"
      "  listen: {}\n"
      "  target: {}\n"
      "credentials_file: {}\n",
      Quoted(options.http), Quoted(options.grpc), Quoted(options.admin),
      Quoted(paths.AdminSocket().string()), Quoted("sqlite://" + paths.Database().string()),
      enclaves, options.batching == "off" ? "batch:\n  size_max: 1\n" : "",
      Quoted(Unix(paths.ForwarderSocket())), Quoted(kms_address),
      Quoted(paths.Credentials().string()));
}

}  // namespace bulla
