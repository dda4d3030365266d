#include "cli/command_line.h"

#include <chrono>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/command_line.h"
#include "base/host_port.h"
#include "cli/commands.h"
#include "cli/dev.h"

namespace bulla {
namespace {

constexpr const char* kFooter =
    "Exit status: 0 done; 1 the signature does not verify, or an answer makes no sense; 2 wrong\n"
    "command line; 3 nothing is running there; 4 the service refused; 5 it cannot now, try again;\n"
    "6 it is done, but the output could not be written.\n"
    "`bulla COMMAND --help` shows examples.";

constexpr std::string_view kDefaultHttp = "127.0.0.1:8080";
constexpr std::string_view kDefaultAdmin = "127.0.0.1:9091";
constexpr std::string_view kDefaultAdminSocket = "/run/bulla/admin.sock";
constexpr int kListDefault = 100;
constexpr int kListMax = 1000;
constexpr int kWeightMax = 1000;  // the gateway's; it has the last word

// Everything that may stand on the command line.
struct Arguments {
  bool json = false;
  std::string url;
  std::string admin_url;
  std::string admin_socket;
  std::filesystem::path data_dir = "bulla-data";
  int timeout_ms = 10'000;
  DevOptions dev;
  std::string idempotency_key;
  std::string key_id;
  std::string digest;
  bool der = false;
  std::string public_key;
  std::vector<std::string> to_verify;
  int limit = kListDefault;
  std::string after;
  EnclaveCommand enclave;
};

void AddConnection(CLI::App& command, Arguments& arguments) {
  command.add_flag("--json", arguments.json, "One JSON object instead of text");
  command.add_option("--url", arguments.url,
                     "The service's HTTP address (else $BULLA_URL, else endpoints.json in the data "
                     "directory, else http://127.0.0.1:8080)");
  command.add_option("--data", arguments.data_dir, "The data directory of a `bulla dev`")
      ->capture_default_str();
  command.add_option("--timeout-ms", arguments.timeout_ms, "How long to wait for an answer")
      ->check(CLI::Range(1, 600'000))
      ->capture_default_str();
}

void AddAdminConnection(CLI::App& command, Arguments& arguments) {
  AddConnection(command, arguments);
  command.add_option("--admin-url", arguments.admin_url,
                     "The admin listener's address (else $BULLA_ADMIN_URL, else endpoints.json, "
                     "else http://127.0.0.1:9091)");
}

void AddAdminSocket(CLI::App& command, Arguments& arguments) {
  command.add_option("--admin-socket", arguments.admin_socket,
                     "The Unix socket over which the gateway is changed: admin.socket in its file "
                     "(else $BULLA_ADMIN_SOCKET, else endpoints.json, else "
                     "/run/bulla/admin.sock)");
}

// As CLI11 has it: empty, or what is wrong.
std::string IsListenAddress(const std::string& text) {
  return std::string(ParseListenAddress(text).status().message());
}

// The options that more than one command takes, for in front of the command: `bulla --data DIR
// create` is `bulla create --data DIR`. What stands behind the command as well counts there.
void AddCommonOptions(CLI::App& app, Arguments& arguments) {
  AddAdminConnection(app, arguments);
  AddAdminSocket(app, arguments);
  app.get_option("--data")->each(
      [&arguments](const std::string& folder) { arguments.dev.data_dir = folder; });
}

// Empty, or what is wrong: an option in front of a command that does not take it would be lost.
std::string NotTaken(const CLI::App& app) {
  const CLI::App* command = &app;
  std::string name;
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    name += " " + command->get_name();
  }
  for (const CLI::Option* option : app.get_options()) {
    const std::string word = option->get_name();
    if (option->empty() || command->get_option_no_throw(word) != nullptr) continue;
    return fmt::format("{} is not for `bulla{}`; next: bulla{} --help", word, name, name);
  }
  return {};
}

void AddDev(CLI::App& app, Arguments& arguments) {
  CLI::App* dev = app.add_subcommand("dev", "Start everything on this machine and serve");
  dev->footer(
      "Examples:\n"
      "  bulla dev\n"
      "  bulla dev --data /tmp/b --http 127.0.0.1:0 --grpc 127.0.0.1:0 --admin 127.0.0.1:0\n"
      "  bulla dev --smoke && echo works");
  DevOptions& options = arguments.dev;
  dev->add_flag("--json", arguments.json, "One JSON object once everything is ready");
  dev->add_option("--data", options.data_dir, "Where keys, logs and endpoints.json are kept")
      ->capture_default_str();
  dev->add_option("--http", options.http, "HOST:PORT for HTTP; port 0 picks a free one")
      ->check(IsListenAddress)
      ->capture_default_str();
  dev->add_option("--grpc", options.grpc, "HOST:PORT for gRPC")
      ->check(IsListenAddress)
      ->capture_default_str();
  dev->add_option("--admin", options.admin, "HOST:PORT for health, metrics and lists of keys")
      ->check(IsListenAddress)
      ->capture_default_str();
  dev->add_option("--enclaves", options.enclaves, "How many enclave processes")
      ->check(CLI::Range(1, kDevEnclavesMax))
      ->capture_default_str();
  dev->add_option("--workers", options.workers,
                  "Signing threads of each enclave; 0 is one for each CPU")
      ->check(CLI::Range(0, kDevWorkersMax))
      ->capture_default_str();
  dev->add_option("--signature-check", options.signature_check,
                  "How enclaves check each signature before it leaves")
      ->check(CLI::IsMember({"recompute", "verify", "none"}))
      ->capture_default_str();
  dev->add_option("--batching", options.batching,
                  "Whether signatures travel to an enclave together")
      ->check(CLI::IsMember({"on", "off"}))
      ->capture_default_str();
  dev->add_flag("--smoke", options.smoke,
                "Stop after the first signature; ports not given are free ones");
}

void AddCreate(CLI::App& app, Arguments& arguments) {
  CLI::App* create = app.add_subcommand("create", "Make a key");
  create->footer("Examples:\n  bulla create\n  bulla create --idempotency-key order-17 --json");
  AddConnection(*create, arguments);
  create->add_option("--idempotency-key", arguments.idempotency_key,
                     "A repeat with the same text returns the same key");
}

void AddSign(CLI::App& app, Arguments& arguments) {
  CLI::App* sign = app.add_subcommand("sign", "Sign a 32-byte digest");
  sign->footer(
      "Examples:\n"
      "  bulla sign KEYID 0x1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8\n"
      "  bulla sign KEYID $(printf hello | sha256sum | cut -c1-64) --der");
  AddConnection(*sign, arguments);
  sign->add_option("KEYID", arguments.key_id, "The key's id")->required();
  sign->add_option("DIGEST", arguments.digest, "64 hex digits, with or without 0x")->required();
  sign->add_flag("--der", arguments.der, "Also the signature as ASN.1 DER");
}

void AddVerify(CLI::App& app, Arguments& arguments) {
  CLI::App* verify = app.add_subcommand("verify", "Check a signature, here");
  verify->footer(
      "Examples:\n"
      "  bulla verify KEYID DIGEST SIGNATURE\n"
      "  bulla verify --public-key 0x02... DIGEST SIGNATURE\n"
      "SIGNATURE is r and s, 128 hex digits. The public key of KEYID comes from the service; with\n"
      "--public-key no service is needed.");
  AddConnection(*verify, arguments);
  verify->add_option("--public-key", arguments.public_key, "A compressed point, 66 hex digits");
  verify->add_option("ARGUMENTS", arguments.to_verify, "[KEYID] DIGEST SIGNATURE")
      ->required()
      ->expected(2, 3);
}

void AddKeys(CLI::App& app, Arguments& arguments) {
  CLI::App* keys = app.add_subcommand("keys", "Show one key, or list them");
  keys->footer(
      "Examples:\n  bulla keys\n  bulla keys KEYID\n  bulla keys --limit 10 --after KEYID");
  AddAdminConnection(*keys, arguments);
  keys->add_option("KEYID", arguments.key_id, "Only this key");
  keys->add_option("--limit", arguments.limit, "How many to list")
      ->check(CLI::Range(1, kListMax))
      ->capture_default_str();
  keys->add_option("--after", arguments.after, "List from behind this key id");
}

constexpr const char* kEnclavesExamples =
    "Examples:\n"
    "  bulla enclaves                                   what there is, a line each\n"
    "  bulla enclaves add vsock:18:7000                 online: it takes its share of the keys\n"
    "  bulla enclaves weight vsock:18:7000 50           half of the usual share\n"
    "  bulla enclaves drain vsock:18:7000               no more keys; what is under way is "
    "answered\n"
    "  bulla enclaves remove vsock:18:7000\n"
    "Changes go over the gateway's Unix socket, from its own host, for root and its own user.\n"
    "The last one that is in service and has keys is neither drained nor removed: add another "
    "first.\n"
    "A change lasts until the gateway restarts, or `enclaves` in its configuration changes. "
    "Change\n"
    "it there too: the gateway takes that at once, and finds nothing left to do.";

// One of the commands under `bulla enclaves`.
CLI::App* AddEnclavesVerb(CLI::App& enclaves, const char* verb, const char* what,
                          Arguments& arguments) {
  CLI::App* command = enclaves.add_subcommand(verb, what);
  command->footer(kEnclavesExamples);
  if (std::string_view(verb) == "list") {
    AddAdminConnection(*command, arguments);
    return command;
  }
  AddConnection(*command, arguments);
  AddAdminSocket(*command, arguments);
  command
      ->add_option("ADDRESS", arguments.enclave.address,
                   "vsock:CID:PORT, unix:/PATH or tcp:HOST:PORT")
      ->required();
  command->callback([&arguments, verb] { arguments.enclave.verb = verb; });
  return command;
}

void AddEnclaves(CLI::App& app, Arguments& arguments) {
  CLI::App* enclaves =
      app.add_subcommand("enclaves", "List the gateway's enclaves, or change which there are");
  enclaves->footer(kEnclavesExamples);
  enclaves->require_subcommand(0, 1);
  AddAdminConnection(*enclaves, arguments);
  AddEnclavesVerb(*enclaves, "list", "List them", arguments);
  CLI::App* add = AddEnclavesVerb(*enclaves, "add", "Take an enclave in", arguments);
  add->add_option("--weight", arguments.enclave.weight,
                  "Its share of the keys, percent of the usual one (100 if not given)")
      ->check(CLI::Range(0, kWeightMax));
  AddEnclavesVerb(*enclaves, "remove", "Let one go", arguments);
  AddEnclavesVerb(*enclaves, "drain", "Give one no more keys: weight 0", arguments);
  CLI::App* weight = AddEnclavesVerb(*enclaves, "weight", "Change one's share", arguments);
  weight
      ->add_option("WEIGHT", arguments.enclave.weight,
                   "Its share of the keys, percent of the usual one")
      ->required()
      ->check(CLI::Range(0, kWeightMax));
}

void AddStatus(CLI::App& app, Arguments& arguments) {
  CLI::App* status = app.add_subcommand("status", "Is it ready, and what is it doing?");
  status->footer("Examples:\n  bulla status\n  bulla status --json");
  AddAdminConnection(*status, arguments);
}

absl::StatusOr<FoundEndpoint> FindHttp(const Arguments& arguments,
                                       const Surroundings& surroundings) {
  return FindEndpoint({.listener = "http",
                       .option_name = "--url",
                       .option = arguments.url,
                       .variable_name = "BULLA_URL",
                       .variable = surroundings.url,
                       .data_dir = arguments.data_dir,
                       .fallback = kDefaultHttp});
}

absl::StatusOr<FoundEndpoint> FindAdmin(const Arguments& arguments,
                                        const Surroundings& surroundings) {
  return FindEndpoint({.listener = "admin",
                       .option_name = "--admin-url",
                       .option = arguments.admin_url,
                       .variable_name = "BULLA_ADMIN_URL",
                       .variable = surroundings.admin_url,
                       .data_dir = arguments.data_dir,
                       .fallback = kDefaultAdmin});
}

absl::StatusOr<FoundEndpoint> FindAdminSocket(const Arguments& arguments,
                                              const Surroundings& surroundings) {
  return FindEndpoint({.listener = "adminSocket",
                       .option_name = "--admin-socket",
                       .option = arguments.admin_socket,
                       .variable_name = "BULLA_ADMIN_SOCKET",
                       .variable = surroundings.admin_socket,
                       .data_dir = arguments.data_dir,
                       .fallback = kDefaultAdminSocket,
                       .is_socket = true});
}

// Finds the listener and runs `command` on it.
template <typename Command>
ExitCode With(const absl::StatusOr<FoundEndpoint>& found, const Arguments& arguments,
              const Console& console, Command command) {
  if (!found.ok()) {
    return console.Fail(ExitCode::kUsage, "INVALID_ARGUMENT",
                        std::string(found.status().message()));
  }
  ServiceCaller service(*found, std::chrono::milliseconds(arguments.timeout_ms), console);
  return command(service);
}

ExitCode RunDev(const CLI::App& dev, Arguments& arguments, const Surroundings& surroundings,
                const Console& console) {
  DevOptions& options = arguments.dev;
  options.program_dir = surroundings.program_dir;
  if (options.smoke) {  // nobody will call, so nobody's port is taken
    for (auto [name, address] : {std::pair<const char*, std::string*>{"--http", &options.http},
                                 {"--grpc", &options.grpc},
                                 {"--admin", &options.admin}}) {
      if (dev.get_option(name)->empty()) *address = "127.0.0.1:0";
    }
  }
  return RunDevBlocking(options, console);
}

ExitCode RunVerify(const Arguments& arguments, const Surroundings& surroundings,
                   const Console& console) {
  const std::vector<std::string>& words = arguments.to_verify;
  std::size_t wanted = arguments.public_key.empty() ? 3 : 2;
  if (words.size() != wanted) {
    return console.Fail(ExitCode::kUsage, "INVALID_ARGUMENT",
                        wanted == 3
                            ? "wanted KEYID DIGEST SIGNATURE; next: bulla verify --help"
                            : "with --public-key, wanted DIGEST SIGNATURE; next: bulla verify "
                              "--help");
  }
  if (wanted == 2) {
    return RunVerifyWithPublicKey(arguments.public_key, words[0], words[1], console);
  }
  return With(FindHttp(arguments, surroundings), arguments, console, [&](ServiceCaller& service) {
    return RunVerifyWithKeyId(service, words[0], words[1], words[2], console);
  });
}

ExitCode RunKeys(const Arguments& arguments, const Surroundings& surroundings,
                 const Console& console) {
  if (!arguments.key_id.empty()) {
    return With(FindHttp(arguments, surroundings), arguments, console, [&](ServiceCaller& service) {
      return RunShowKey(service, arguments.key_id, console);
    });
  }
  return With(FindAdmin(arguments, surroundings), arguments, console, [&](ServiceCaller& admin) {
    return RunListKeys(admin, arguments.limit, arguments.after, console);
  });
}

ExitCode RunEnclaves(const Arguments& arguments, const Surroundings& surroundings,
                     const Console& console) {
  if (arguments.enclave.verb.empty()) {
    return With(FindAdmin(arguments, surroundings), arguments, console,
                [&](ServiceCaller& admin) { return RunListEnclaves(admin, console); });
  }
  return With(
      FindAdminSocket(arguments, surroundings), arguments, console,
      [&](ServiceCaller& admin) { return RunChangeEnclaves(admin, arguments.enclave, console); });
}

// The sub-command that was parsed.
ExitCode RunCommand(const CLI::App& app, Arguments& arguments, const Surroundings& surroundings,
                    const Console& console) {
  if (app.got_subcommand("dev"))
    return RunDev(*app.get_subcommand("dev"), arguments, surroundings, console);
  if (app.got_subcommand("verify")) return RunVerify(arguments, surroundings, console);
  if (app.got_subcommand("keys")) return RunKeys(arguments, surroundings, console);
  if (app.got_subcommand("status")) {
    return With(FindAdmin(arguments, surroundings), arguments, console,
                [&](ServiceCaller& admin) { return RunStatus(admin, console); });
  }
  if (app.got_subcommand("enclaves")) return RunEnclaves(arguments, surroundings, console);
  return With(FindHttp(arguments, surroundings), arguments, console, [&](ServiceCaller& service) {
    return app.got_subcommand("create")
               ? RunCreate(service, arguments.idempotency_key, console)
               : RunSign(service, arguments.key_id, arguments.digest, arguments.der, console);
  });
}

}  // namespace

ExitCode RunCommandLine(int argc, const char* const* argv, const Surroundings& surroundings,
                        Console console) {
  Arguments arguments;
  CLI::App app(
      "Bulla signs digests with secp256k1 keys that no machine outside an enclave can read.",
      "bulla");
  app.footer(kFooter);
  app.require_subcommand(1);
  AddCommonOptions(app, arguments);
  AddDev(app, arguments);
  AddCreate(app, arguments);
  AddSign(app, arguments);
  AddVerify(app, arguments);
  AddKeys(app, arguments);
  AddStatus(app, arguments);
  AddEnclaves(app, arguments);
  if (std::optional<int> status =
          ParseCommandLine(app, surroundings.build, argc, argv, console.out, console.err)) {
    return static_cast<ExitCode>(*status);
  }
  console.json = arguments.json;
  if (const std::string wrong = NotTaken(app); !wrong.empty()) {
    return console.Fail(ExitCode::kUsage, "INVALID_ARGUMENT", wrong);
  }
  return console.Finish(RunCommand(app, arguments, surroundings, console));
}

}  // namespace bulla
