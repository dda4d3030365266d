#include "cli/dev.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <fcntl.h>

#include "base/bytes.h"
#include "base/errno_text.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/random.h"
#include "cli/commands.h"
#include "cli/replies.h"
#include "crypto/address.h"
#include "crypto/verifier.h"

namespace bulla {
namespace {

// A loaded machine of two cores, sanitizers included, takes a few seconds.
constexpr std::chrono::seconds kReadyTimeout{60};
constexpr std::chrono::seconds kStopGrace{15};
constexpr std::chrono::seconds kCallTimeout{10};
// The first key's data key may have to be opened first, by a call to bulla-kms.
constexpr std::chrono::milliseconds kCallPatience{10'000};
constexpr std::string_view kAnyLoopbackPort = "127.0.0.1:0";

// Keccak-256 of "hello": a digest that anybody can make again.
constexpr std::string_view kDemonstrationDigest =
    "0x1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8";

// One that is there keeps its mode: `--data` may name a home directory, or /tmp.
absl::Status MakeFolder(const std::filesystem::path& folder) {
  std::error_code error;
  const bool made = std::filesystem::create_directories(folder, error);
  if (error || (made && ::chmod(folder.c_str(), 0700) != 0)) {
    return absl::UnavailableError(fmt::format("cannot make the folder {}: {}", folder.string(),
                                              ErrnoText(error ? error.value() : errno)));
  }
  return absl::OkStatus();
}

// Held until the process ends, however it ends.
absl::StatusOr<UniqueFd> LockDataDir(const DevPaths& paths) {
  UniqueFd lock(::open(paths.lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) {
    return absl::UnavailableError(
        fmt::format("cannot open {}: {}", paths.lock.string(), ErrnoText(errno)));
  }
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::AlreadyExistsError(
        fmt::format("another `bulla dev` runs on {}.\n"
                    "  Use that one (its addresses: {}), stop it, or take another --data.",
                    paths.data.string(), paths.Endpoints().string()));
  }
  return lock;
}

// Credentials that bulla-kms accepts and the gateway hands to the enclaves. They open nothing but
// the local KMS.
std::string NewCredentials() {
  ByteArray<8> id;
  ByteArray<30> secret;
  FillRandom(id);
  FillRandom(secret);
  boost::json::value credentials = {{"accessKeyId", "AKIA" + HexEncode(id)},
                                    {"secretAccessKey", Base64Encode(secret)}};
  return boost::json::serialize(credentials) + "\n";
}

// One member of a ready file.
absl::StatusOr<std::string> Member(const boost::json::object& ready, std::string_view child,
                                   std::string_view name) {
  const boost::json::value* value = ready.if_contains(name);
  if (value == nullptr || !value->is_string()) {
    return absl::DataLossError(fmt::format("{}: its ready file lacks '{}'", child, name));
  }
  return std::string(value->get_string());
}

// As a shell takes it for one word.
std::string ShellWord(const std::string& text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%";
  if (text.find_first_not_of(kPlain) == std::string::npos) return text;
  std::string word = "'";
  for (char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

// One run of `bulla dev`. Confined to the main thread.
class DevRun {
 public:
  DevRun(DevOptions options, DevPaths paths, const Console& console)
      : options_(std::move(options)),
        paths_(std::move(paths)),
        console_(console),
        began_(RealClock().Now()),
        children_([this](std::string_view text) { Say(text); }) {}

  ExitCode RunBlocking() {
    absl::Status prepared = Prepare();
    if (!prepared.ok()) return Explain(prepared);
    absl::Status started = StartAllBlocking();
    ExitCode exit = started.ok() ? Demonstrate() : Explain(started);
    if (exit == ExitCode::kOk && !options_.smoke) {
      Say("serving; Ctrl-C stops everything");
      children_.SuperviseUntilSignalBlocking([this] {
        if (absl::Status status = WriteEndpoints(); !status.ok()) {
          Say(std::string(status.message()));
        }
      });
    }
    StopAllBlocking();
    return exit;
  }

 private:
  void Say(std::string_view text) const {
    std::chrono::duration<double> elapsed = RealClock().Now() - began_;
    console_.err << fmt::format("[{:6.2f} s] {}", elapsed.count(), text) << std::endl;
  }

  ExitCode Explain(const absl::Status& status) const {
    if (absl::IsCancelled(status)) {
      Say("asked to stop before everything was ready");
      return options_.smoke ? ExitCode::kFailed : ExitCode::kOk;
    }
    return console_.Fail(ExitCode::kFailed, "DEV_FAILED", std::string(status.message()));
  }

  absl::Status Prepare() {
    BULLA_RETURN_IF_ERROR(MakeFolder(paths_.data));
    BULLA_ASSIGN_OR_RETURN(lock_, LockDataDir(paths_));
    for (const auto& folder : {paths_.run, paths_.logs, paths_.nsm, paths_.kms}) {
      BULLA_RETURN_IF_ERROR(MakeFolder(folder));
    }
    std::error_code ignored;  // one that was left by a killed run, or none
    std::filesystem::remove(paths_.Endpoints(), ignored);
    if (!SocketPathsFit(paths_)) {
      char folder[] = "/tmp/bulla-XXXXXX";
      if (::mkdtemp(folder) == nullptr) {
        return absl::UnavailableError(
            fmt::format("cannot make a folder in /tmp: {}", ErrnoText(errno)));
      }
      paths_.sockets = folder;
      temporary_sockets_ = true;
      Say(fmt::format("{} is too deep for Unix sockets; they are in {}", paths_.run.string(),
                      folder));
    }
    if (!std::filesystem::exists(paths_.Credentials(), ignored)) {
      BULLA_RETURN_IF_ERROR(WriteFileAtomically(paths_.Credentials(), NewCredentials()));
    }
    return absl::OkStatus();
  }

  absl::Status StartAllBlocking() {
    Say(fmt::format("data in {}, logs in {}", paths_.data.string(), paths_.logs.string()));
    BULLA_RETURN_IF_ERROR(
        children_.RunBlocking(SimulatedRootSpec(options_, paths_), kReadyTimeout));
    BULLA_RETURN_IF_ERROR(StartKmsBlocking());
    BULLA_RETURN_IF_ERROR(StartEnclavesBlocking());
    BULLA_RETURN_IF_ERROR(StartGatewayBlocking());
    return WriteEndpoints();
  }

  absl::Status WriteEndpoints() {
    endpoints_.pids = children_.Pids();
    return WriteFileAtomically(paths_.Endpoints().string(), FormatEndpoints(endpoints_));
  }

  absl::Status StartKmsBlocking() {
    BULLA_RETURN_IF_ERROR(
        children_.Start(KmsSpec(options_, paths_, std::string(kAnyLoopbackPort))));
    BULLA_ASSIGN_OR_RETURN(boost::json::object ready,
                           children_.AwaitReadyBlocking("kms", kReadyTimeout));
    BULLA_ASSIGN_OR_RETURN(std::string address, Member(ready, "kms", "listen"));
    BULLA_ASSIGN_OR_RETURN(kms_key_arn_, Member(ready, "kms", "keyArn"));
    children_.SetArguments("kms", KmsSpec(options_, paths_, address).argv);
    endpoints_.addresses["kms"] = address;
    Say(fmt::format("bulla-kms is ready on {}, key {}", address, kms_key_arn_));
    return absl::OkStatus();
  }

  absl::Status StartEnclavesBlocking() {
    for (int number = 1; number <= options_.enclaves; ++number) {
      BULLA_RETURN_IF_ERROR(
          WriteFileAtomically(EnclaveConfigPath(paths_, number),
                              EnclaveConfig(options_, paths_, number, kms_key_arn_)));
      BULLA_RETURN_IF_ERROR(children_.Start(EnclaveSpec(options_, paths_, number)));
    }
    for (int number = 1; number <= options_.enclaves; ++number) {
      absl::Status ready =
          children_.AwaitReadyBlocking(EnclaveName(number), kReadyTimeout).status();
      BULLA_RETURN_IF_ERROR(ready);
      Say(fmt::format("bulla-enclave {} is ready (simulated: its memory is not protected)",
                      number));
    }
    return absl::OkStatus();
  }

  absl::Status StartGatewayBlocking() {
    const std::string& kms_address = endpoints_.addresses["kms"];
    const std::string config = GatewayConfig(options_, paths_, kms_address);
    BULLA_RETURN_IF_ERROR(WriteFileAtomically(GatewayConfigPath(paths_), config));
    BULLA_RETURN_IF_ERROR(children_.Start(GatewaySpec(options_, paths_)));
    BULLA_ASSIGN_OR_RETURN(boost::json::object ready,
                           children_.AwaitReadyBlocking("gateway", kReadyTimeout));
    BULLA_ASSIGN_OR_RETURN(options_.http, Member(ready, "gateway", "http"));
    BULLA_ASSIGN_OR_RETURN(options_.grpc, Member(ready, "gateway", "grpc"));
    BULLA_ASSIGN_OR_RETURN(options_.admin, Member(ready, "gateway", "admin"));
    // A gateway that has to be started again comes back where its callers look for it.
    const std::string with_ports = GatewayConfig(options_, paths_, kms_address);
    if (with_ports != config) {
      BULLA_RETURN_IF_ERROR(WriteFileAtomically(GatewayConfigPath(paths_), with_ports));
    }
    endpoints_.addresses["http"] = options_.http;
    endpoints_.addresses["grpc"] = options_.grpc;
    endpoints_.addresses["admin"] = options_.admin;
    endpoints_.addresses["adminSocket"] = paths_.AdminSocket().string();
    Say(fmt::format("bulla-gateway is ready: http {}, grpc {}, admin {}", options_.http,
                    options_.grpc, options_.admin));
    return absl::OkStatus();
  }

  // The first key and the first signature, as a caller would get them. The same key at every start
  // of a day: starting often should not fill the store.
  ExitCode Demonstrate() {
    absl::StatusOr<HttpUrl> http = ParseHttpUrl(options_.http);
    if (!http.ok()) return Explain(http.status());
    ServiceCaller service({*http, "bulla dev"}, kCallTimeout, console_);
    service.set_patience(kCallPatience);

    std::optional<HttpReply> created =
        service.CallBlocking({.method = "POST",
                              .target = "/create",
                              .json_body = "{}",
                              .idempotency_key = "bulla-dev-first-key"});
    if (!created) return service.exit_code();
    absl::StatusOr<PublicKeyReply> key = ParsePublicKeyReply(created->body);
    if (!key.ok()) return Explain(key.status());
    Say(fmt::format("first key {}, address {}", key->key_id, key->address));

    boost::json::value request = {{"keyId", key->key_id}, {"digest", kDemonstrationDigest}};
    std::optional<HttpReply> signed_digest =
        service.CallBlocking({.method = "POST",
                              .target = "/sign",
                              .json_body = boost::json::serialize(request),
                              .idempotency_key = {}});
    if (!signed_digest) return service.exit_code();
    absl::StatusOr<SignatureReply> reply = ParseSignatureReply(signed_digest->body);
    if (!reply.ok()) return Explain(reply.status());
    std::string signature = HexEncode0x(reply->signature.rs);
    Say(fmt::format("signed {} (Keccak-256 of \"hello\"): {}", kDemonstrationDigest, signature));

    if (absl::Status verdict = Check(*key, reply->signature); !verdict.ok()) {
      return Explain(verdict);
    }
    Say("verified it here with libsecp256k1; it recovers to that address");
    Announce(key->key_id, signature);
    return console_.Finish(ExitCode::kOk);  // whoever waits for the addresses would wait for ever
  }

  static absl::Status Check(const PublicKeyReply& key, const RecoverableSignature& signature) {
    Digest32 digest;
    HexDecode(kDemonstrationDigest, digest);
    if (!VerifySignature(key.public_key, digest, signature.rs)) {
      return absl::DataLossError("the signature does not verify");
    }
    BULLA_ASSIGN_OR_RETURN(PublicKey33 recovered, RecoverPublicKey(digest, signature));
    BULLA_ASSIGN_OR_RETURN(Address20 address, AddressOf(recovered));
    if (ToEip55(address) != key.address) {
      return absl::DataLossError(
          fmt::format("the signature recovers to {}, not to {}", ToEip55(address), key.address));
    }
    return absl::OkStatus();
  }

  void Announce(const std::string& key_id, const std::string& signature) const {
    if (console_.json) {
      boost::json::object ready = {{"dataDir", paths_.data.string()},
                                   {"keyId", key_id},
                                   {"digest", kDemonstrationDigest},
                                   {"signature", signature}};
      for (const auto& [name, address] : endpoints_.addresses) ready[name] = address;
      console_.out << boost::json::serialize(ready) << "\n";
      return;
    }
    if (options_.smoke) return;
    console_.out << fmt::format(
                        "\nTry:\n"
                        "  curl -X POST http://{0}/create\n"
                        "  curl -X POST http://{0}/sign -H 'Content-Type: application/json' \\\n"
                        "    -d '{{\"keyId\": \"{1}\", \"digest\": \"{2}\"}}'\n"
                        "  curl http://{0}/keys/{1}\n"
                        "  curl http://{3}/metrics\n"
                        "  {4} status --data {5}\n",
                        options_.http, key_id, kDemonstrationDigest, options_.admin,
                        ShellWord((options_.program_dir / "bulla").string()),
                        ShellWord(paths_.data.string()))
                 << "\n";
  }

  void StopAllBlocking() {
    Say("stopping");
    std::error_code ignored;
    std::filesystem::remove(paths_.Endpoints(), ignored);
    children_.StopAllBlocking(kStopGrace);
    if (temporary_sockets_) std::filesystem::remove_all(paths_.sockets, ignored);
    Say("stopped");
  }

  DevOptions options_;
  DevPaths paths_;
  const Console& console_;
  const MonotonicTime began_;
  UniqueFd lock_;
  bool temporary_sockets_ = false;
  std::string kms_key_arn_;
  Endpoints endpoints_;
  Supervisor children_;  // last: its destructor kills them while the lock is held
};

}  // namespace

ExitCode RunDevBlocking(DevOptions options, const Console& console) {
  absl::StatusOr<DevPaths> paths = PathsOf(options.data_dir);
  if (!paths.ok()) {
    const bool usage = absl::IsInvalidArgument(paths.status());
    return console.Fail(usage ? ExitCode::kUsage : ExitCode::kFailed,
                        usage ? "INVALID_ARGUMENT" : "DEV_FAILED",
                        std::string(paths.status().message()));
  }
  return DevRun(std::move(options), *std::move(paths), console).RunBlocking();
}

}  // namespace bulla
