// bulla-kms: AWS KMS's protocol on a loopback port, for development and tests. It keeps its keys in
// plain files and is no safer than they are.

#include <fmt/format.h>
#include <iostream>
#include <optional>
#include <string>

#include <boost/json.hpp>

#include "base/build_info.h"
#include "base/command_line.h"
#include "base/daemon.h"
#include "base/file.h"
#include "base/host_port.h"
#include "base/log.h"
#include "base/status.h"
#include "localkms/key_ring.h"
#include "localkms/kms_service.h"
#include "localkms/server.h"
#include "localkms/tls_identity.h"

namespace bulla {
namespace {

namespace json = boost::json;

// What callers sign with where no --credentials-file says otherwise. Public, like this source.
constexpr char kDevelopmentAccessKeyId[] = "BULLADEVELOPMENT";
constexpr char kDevelopmentSecretAccessKey[] = "bulla-development-only";

struct Flags {
  std::string listen = "127.0.0.1:0";
  std::string data_dir;
  std::string region = "eu-central-1";
  std::string credentials_file;
  std::string attestation_root;
  std::string tls_dir;
  std::string ready_file;
  bool create_key_if_empty = false;
};

constexpr char kExamples[] = R"(
Examples:
  bulla-kms --data /tmp/kms --listen 127.0.0.1:8080 --create-key-if-empty
  AWS_ACCESS_KEY_ID=BULLADEVELOPMENT AWS_SECRET_ACCESS_KEY=bulla-development-only \
    aws kms list-keys --region eu-central-1 --endpoint-url http://127.0.0.1:8080
  curl http://127.0.0.1:8080/stats

A credentials file is a JSON object, or a list of them:
  {"accessKeyId": "...", "secretAccessKey": "...", "sessionToken": ""})";

void AddFlags(ProgramOptions& options, Flags& flags) {
  options.AddText(
      "--listen", flags.listen, "Loopback address and port; port 0 takes a free one",
      {.check = [](const std::string& text) { return ParseListenAddress(text).status(); }});
  options.AddText("--data", flags.data_dir, "Directory of the keys, made if missing",
                  {.required = true});
  options.AddText("--region", flags.region, "AWS region to pose as");
  options.AddText("--credentials-file", flags.credentials_file,
                  "Who may call (default: the development pair of the examples)");
  options.AddText("--attestation-root", flags.attestation_root,
                  "PEM of the root whose attestation documents are believed");
  options.AddText("--tls-dir", flags.tls_dir,
                  "Serve TLS with ca.pem, cert.pem, key.pem of this directory, made if missing");
  options.AddText("--ready-file", flags.ready_file,
                  "Once serving, written as {\"listen\", \"region\", \"tls\", \"keyArn\"}");
  options.AddSwitch("--create-key-if-empty", flags.create_key_if_empty,
                    "Make one key where there is none");
}

constexpr std::size_t kFileBytesMax = 1 << 20;

absl::StatusOr<std::vector<AwsCredentials>> LoadCredentials(const std::string& path) {
  if (path.empty())
    return std::vector<AwsCredentials>{{kDevelopmentAccessKeyId, kDevelopmentSecretAccessKey, ""}};
  BULLA_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path, kFileBytesMax));
  boost::system::error_code error;
  json::value list = json::parse(text, error);
  absl::Status malformed = absl::InvalidArgumentError(
      fmt::format("{}: not {{\"accessKeyId\", \"secretAccessKey\"}} or a list of them", path));
  if (error) return malformed;
  if (list.is_object()) list = json::array{std::move(list)};
  if (!list.is_array() || list.as_array().empty()) return malformed;
  std::vector<AwsCredentials> out;
  for (const json::value& item : list.as_array()) {
    auto member = [&](const char* name) -> std::string {
      const json::value* value = item.is_object() ? item.as_object().if_contains(name) : nullptr;
      return value && value->is_string() ? std::string(value->as_string().c_str()) : "";
    };
    out.push_back({member("accessKeyId"), member("secretAccessKey"), member("sessionToken")});
    if (out.back().access_key_id.empty() || out.back().secret_access_key.empty()) return malformed;
  }
  return out;
}

absl::StatusOr<KmsServiceOptions> LoadServiceOptions(const Flags& flags) {
  KmsServiceOptions options;
  options.region = flags.region;
  BULLA_ASSIGN_OR_RETURN(options.credentials, LoadCredentials(flags.credentials_file));
  if (!flags.attestation_root.empty()) {
    BULLA_ASSIGN_OR_RETURN(std::string pem, ReadTextFile(flags.attestation_root, kFileBytesMax));
    BULLA_ASSIGN_OR_RETURN(options.attestation_root, TrustAnchor::FromPem(pem));
  }
  return options;
}

// The ARN for the ready file: the first key's, made where that was asked for; empty for none.
absl::StatusOr<std::string> FirstKeyArn(KeyRing& keys, bool create_if_empty, WallTime now) {
  std::vector<const CustomerKey*> list = keys.List();
  if (!list.empty()) return list.front()->arn;
  if (!create_if_empty) return std::string();
  BULLA_ASSIGN_OR_RETURN(const CustomerKey* key, keys.Create("made at the first start", now));
  return key->arn;
}

absl::Status Serve(const Flags& flags) {
  StopSignals stop;
  RaiseDescriptorLimit();
  RealClock clock;
  BULLA_ASSIGN_OR_RETURN(KmsServiceOptions options, LoadServiceOptions(flags));
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<KeyRing> keys,
                         KeyRing::Open(flags.data_dir, flags.region));
  BULLA_ASSIGN_OR_RETURN(std::string key_arn,
                         FirstKeyArn(*keys, flags.create_key_if_empty, clock.WallNow()));
  KmsService service(std::move(options), *keys, clock);
  ServerOptions server_options{.listen = flags.listen, .tls = {}, .threads = 2};
  if (!flags.tls_dir.empty()) {
    BULLA_ASSIGN_OR_RETURN(server_options.tls,
                           MakeTlsIdentity(flags.tls_dir, flags.region, clock.WallNow()));
  }
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<KmsServer> server,
                         KmsServer::Start(server_options, [&](const KmsRequest& request) {
                           return service.Handle(request);
                         }));
  bool tls = server_options.tls.has_value();
  LogInfo("kms_ready", {{"listen", server->address()}, {"region", flags.region}, {"tls", tls}});
  if (!flags.ready_file.empty()) {
    json::object ready{{"listen", server->address()}, {"region", flags.region}, {"tls", tls}};
    if (!key_arn.empty()) ready["keyArn"] = key_arn;
    BULLA_RETURN_IF_ERROR(WriteFileAtomically(flags.ready_file, json::serialize(ready)));
  }
  LogInfo("kms_stopping", {{"signal", stop.WaitBlocking()}});
  server->Stop();
  return absl::OkStatus();
}

}  // namespace
}  // namespace bulla

int main(int argc, char** argv) {
  bulla::HoldStandardDescriptors();
  bulla::ProgramOptions options("A local stand-in for AWS KMS, on loopback only", "bulla-kms",
                                bulla::kExamples);
  bulla::Flags flags;
  bulla::AddFlags(options, flags);
  if (std::optional<int> status =
          options.Parse(bulla::ThisBuild(), argc, argv, std::cout, std::cerr)) {
    return *status;
  }
  absl::Status status = bulla::Serve(flags);
  if (status.ok()) return 0;
  fmt::print(stderr, "bulla-kms: {}\n", std::string(status.message()));
  return 1;
}
