#include "gateway/config/gateway_config.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/vm_sockets.h>
#include <map>
#include <optional>
#include <sys/socket.h>

#include "base/host_port.h"
#include "base/log.h"
#include "gateway/frontend/host_rules.h"
#include "wire/codec.h"

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::string_view kSqliteScheme = "sqlite://";
constexpr std::size_t kEnclavesMax = HashRing::kMembersMax;
constexpr std::size_t kAllowedHostsMax = 64;   // each request is compared with all of them
constexpr std::size_t kProxyNetworksMax = 64;  // likewise
constexpr std::string_view kKeyPolicySection = "key_policy";
// Below are the hypervisor (0), loopback (1) and the host (2, and 3 as its enclaves see it).
constexpr std::uint32_t kEnclaveCidMin = 4;

// Settings of the key policy that contradict each other whatever the image has for the others,
// which are zero here. What is looser than the image the enclave says.
absl::Status CheckWantedKeyPolicy(KeyPolicy policy, const ConfigReader& reader) {
  constexpr KeyPolicy::Microseconds kUnset{0};
  if (policy.plain_key_ttl_hard == kUnset) policy.plain_key_ttl_hard = minutes(60);
  if (policy.plain_key_ttl_soft == kUnset) policy.plain_key_ttl_soft = policy.plain_key_ttl_hard;
  if (policy.dek_ttl_hard == kUnset) policy.dek_ttl_hard = minutes(60);
  absl::Status status = CheckKeyPolicy(policy);
  if (status.ok()) return status;
  std::string message(status.message());  // "dek.ttl_soft: got ..."
  std::size_t name_end = message.find(':');
  std::string key = fmt::format("{}.{}", kKeyPolicySection, message.substr(0, name_end));
  return absl::InvalidArgumentError(
      fmt::format("{}{}", reader.Where(key), message.substr(name_end)));
}

// Port 0 wants any port.
bool IsWhereWanted(const std::string& running, const std::string& wanted) {
  absl::StatusOr<SocketAddress> is = ParseListenAddress(running);
  absl::StatusOr<SocketAddress> want = ParseListenAddress(wanted);
  if (!is.ok() || !want.ok()) return false;
  HostPort is_at = *ParseHostPort(is->ToString());
  const HostPort want_at = *ParseHostPort(want->ToString());
  if (want_at.port == 0) is_at.port = 0;
  return is_at == want_at;
}

// The listeners on TCP and the one target.
absl::Status CheckTcpAddresses(const GatewayConfig& config, const ConfigReader& reader) {
  auto checked = [&reader](std::string_view key, const absl::Status& status) {
    if (status.ok()) return status;
    return absl::InvalidArgumentError(
        fmt::format("{}: {}", reader.Where(key), std::string(status.message())));
  };
  for (const auto& [key, listen] : {std::pair{"http.listen", &config.http_listen},
                                    std::pair{"grpc.listen", &config.grpc_listen},
                                    std::pair{"admin.listen", &config.admin_listen}}) {
    BULLA_RETURN_IF_ERROR(checked(key, ParseListenAddress(*listen).status()));
  }
  return checked("kms_forwarder.target", ParseTarget(config.kms_forwarder_target).status());
}

// What depends on where the gateway runs.
absl::Status CheckPlatform(const GatewayConfig& config, const ConfigReader& reader) {
  const auto at = [&reader](std::string_view key, const absl::Status& status) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {}", reader.Where(std::string(key)), std::string(status.message())));
  };
  if (config.platform != kNitro && config.platform != kSimulated) {
    return at("platform", absl::InvalidArgumentError(fmt::format(
                              "got \"{}\", want {} or {}", config.platform, kNitro, kSimulated)));
  }
  if (auto specs = EnclaveSpecs(config.enclaves, config.platform); !specs.ok()) {
    return at("enclaves", specs.status());
  }
  absl::StatusOr<Address> forwarder = Address::Parse(config.kms_forwarder_listen);
  absl::Status usable =
      forwarder.ok() ? CheckAddressOn(config.platform, *forwarder) : forwarder.status();
  if (!usable.ok()) return at("kms_forwarder.listen", usable);
  if (config.admin_socket.empty()) return absl::OkStatus();
  absl::StatusOr<Address> socket = Address::Parse("unix:" + config.admin_socket);
  return socket.ok() ? absl::OkStatus() : at("admin.socket", socket.status());
}

// How long a caller may take; over it, the connection is closed.
void RegisterHttpTimeouts(GatewayConfig& config, ConfigReader& reader) {
  constexpr milliseconds kMin{10};
  constexpr milliseconds kMax = minutes(60);
  reader.AddDuration("http.idle_timeout", &config.hot.http.idle, kMin, kMax,
                     "A connection without a request is closed after this. Longer than the load "
                     "balancer's, so that it is the balancer who closes.");
  reader.AddDuration("http.header_timeout", &config.hot.http.header, kMin, kMax,
                     "From a request's first byte to the end of its header.");
  reader.AddDuration("http.body_timeout", &config.hot.http.body, kMin, kMax,
                     "From there to the end of its body.");
  reader.AddDuration("http.write_timeout", &config.hot.http.write, kMin, kMax,
                     "For the caller to take an answer off our hands.");
}

// Each is named as in `enclaves`: one that is misspelled would not be taken, without a word.
absl::Status CheckAdopted(const GatewayConfig& config, const ConfigReader& reader) {
  BULLA_ASSIGN_OR_RETURN(std::vector<EnclaveSpec> specs,
                         EnclaveSpecs(config.enclaves, config.platform));
  for (const std::string& adopted : config.adopt_enclaves) {
    const bool known = std::ranges::any_of(
        specs, [&](const EnclaveSpec& spec) { return spec.address.ToString() == adopted; });
    if (known) continue;
    return absl::InvalidArgumentError(fmt::format("{}: got \"{}\", want an address of `enclaves`",
                                                  reader.Where("adopt_enclaves"), adopted));
  }
  return absl::OkStatus();
}

// Who the client is, when it is not the peer of the connection.
void RegisterProxies(GatewayConfig& config, ConfigReader& reader) {
  reader.AddStringList(
      "proxies.trusted", &config.trusted_proxies, kProxyNetworksMax,
      "Networks of the proxies and load balancers in front of the gateway, such as "
      "10.0.0.0/8: only they are believed when they say whom a connection or a "
      "request is from. So shares are those of the real clients, not the proxies'.");
  reader.AddString("proxies.field", &config.forwarded_field,
                   "The header field (gRPC: metadata) in which they say so: forwarded, "
                   "x-forwarded-for, or none. The one that they write, since any other is the "
                   "caller's own. The rightmost address that is no trusted proxy counts.");
  constexpr const char* kAdvice =
      "Trusted proxies begin each connection to this listener with a header of the PROXY protocol, "
      "version 1 or 2; a connection of theirs without one is closed.";
  reader.AddBool("http.proxy_protocol", &config.http_proxy_protocol, kAdvice);
  reader.AddBool("grpc.proxy_protocol", &config.grpc_proxy_protocol, kAdvice);
}

absl::Status CheckProxies(const GatewayConfig& config, const ConfigReader& reader) {
  absl::Status parsed = ForwardedRulesOf(config).status();
  if (!parsed.ok()) {
    const std::string message(parsed.message());  // "proxies.field: got ..."
    const std::size_t name_end = message.find(':');
    return absl::InvalidArgumentError(
        fmt::format("{}{}", reader.Where(message.substr(0, name_end)), message.substr(name_end)));
  }
  if (!config.trusted_proxies.empty()) return absl::OkStatus();
  for (const auto& [key, is_set] :
       {std::pair{"http.proxy_protocol", config.http_proxy_protocol},
        std::pair{"grpc.proxy_protocol", config.grpc_proxy_protocol},
        std::pair{"proxies.field", config.forwarded_field != kForwardedFieldNames[0]}}) {
    if (!is_set) continue;
    return absl::InvalidArgumentError(fmt::format(
        "{}: nobody is believed without proxies.trusted; set both or none", reader.Where(key)));
  }
  return absl::OkStatus();
}

void RegisterRetries(RetrySettings& retry, ConfigReader& reader) {
  reader.AddInteger("retry.count_max", &retry.count_max, "retries", 0, SignCall::kRetriesMax,
                    "How often a signature that its enclave does not answer is retried in another, "
                    "as far as the budget goes. 0: never.");
  reader.AddDuration("retry.timeout", &retry.timeout, milliseconds(1), seconds(10),
                     "From its first retry on a signature has this long.");
  reader.AddDuration("retry.per_try_timeout", &retry.per_try_timeout, milliseconds(10), seconds(10),
                     "A signature that an enclave has not answered by then is retried in another, "
                     "where there is one that is available.");
  reader.AddInteger("retry.budget_requests", &retry.requests_per_retry, "requests", 1, 1000,
                    "One retry may be made for so many signatures asked for; up to 500 are saved.");
}

}  // namespace

void RegisterSettings(GatewayConfig& config, ConfigReader& reader) {
  reader.AddString(
      "platform", &config.platform,
      "nitro, or simulated for development. On nitro enclaves have vsock addresses and "
      "no others, and so has kms_forwarder.listen: nobody but an enclave gets the "
      "credentials.");
  reader.AddString("http.listen", &config.http_listen,
                   "HOST:PORT of HTTP. HOST is an address or localhost: 0.0.0.0 is every IPv4 "
                   "address, [::] every address of both kinds. Port 0 picks a free one.");
  reader.AddInteger("http.threads", &config.http_threads, "threads", 1, 64,
                    "I/O threads of HTTP, and as many of gRPC. Two serve 500 connections.");
  RegisterHttpTimeouts(config, reader);
  reader.AddString("grpc.listen", &config.grpc_listen, "HOST:PORT of gRPC, as http.listen.");
  RegisterProxies(config, reader);
  reader.AddString(
      "admin.listen", &config.admin_listen,
      "HOST:PORT of health, metrics and status, to be read alone; as http.listen. Keep "
      "it off public networks.");
  reader.AddString("admin.socket", &config.admin_socket,
                   "Path of the Unix socket over which `bulla enclaves` adds and removes enclaves, "
                   "such as /run/bulla/admin.sock: for root and the gateway's own user. Empty: "
                   "enclaves change by this file alone.");
  reader.AddStringList("allowed_hosts", &config.allowed_hosts, kAllowedHostsMax,
                       "Names under which callers reach the listeners, besides localhost and "
                       "literal addresses: sign.example.com, or *.example.com for all below it. "
                       "Requests for any other host are refused, lest a web page have a name of "
                       "its own lead here.");
  reader.AddString("log_level", &config.log_level, "debug, info, warn or error.");
  reader.AddString("store", &config.store, "The key store: sqlite:///PATH. The folder must exist.");
  reader.AddDuration("idempotency_ttl", &config.idempotency_ttl, minutes(1), hours(24 * 365),
                     "How long a repeat with the same Idempotency-Key gets the key that the first "
                     "call made.");
  reader.AddStringList("enclaves", &config.enclaves, kEnclavesMax,
                       "The enclaves: vsock:CID:PORT, unix:/PATH or tcp:HOST:PORT; a larger or "
                       "smaller share of the keys than usual with \" weight=N\" (percent) after "
                       "it.");
  reader.AddStringList(
      "adopt_enclaves", &config.adopt_enclaves, kEnclavesMax,
      "Enclaves, by their addresses, that are taken though they have made keys for another key "
      "store: one that is gone, or was put in its place from a backup of another. Otherwise such "
      "an enclave is refused, and the gateway is not ready.");
  reader.AddInteger("pool.streams_min", &config.hot.data_plane.link.streams_min, "connections", 1,
                    32, "Long-lived connections to each enclave. At least 16 in production.");
  reader.AddInteger("pool.streams_max", &config.hot.data_plane.link.streams_max, "connections", 1,
                    32, "How many they may become when all of them are well filled.");
  reader.AddDuration(
      "rebalancing.step_interval", &config.hot.data_plane.rebalancing_step_interval,
      milliseconds(10), minutes(5),
      "An enclave that comes or goes takes or gives its keys in ten steps, each after "
      "the keys in use that it moves are loaded where they go: the time between two.");
  reader.AddInteger("batch.size_max", &config.hot.data_plane.link.batch_size_max, "signatures", 1,
                    kFrameSignsMax,
                    "Signatures that travel to an enclave together; 1: each alone.");
  reader.AddDuration("batch.wait_max", &config.hot.data_plane.link.batch_wait_max, microseconds(0),
                     milliseconds(10),
                     "How long a signature may be held back for that, twenty times as long behind "
                     "size_max others. Only under load: an idle enclave gets it at once.");
  reader.AddDuration("admission.wait_max", &config.hot.data_plane.link.queue_wait_max,
                     milliseconds(1), seconds(1),
                     "How long the queue of an enclave may get. What would make it longer is "
                     "refused at once with RETRY_LATER. A burst may take longer.");
  reader.AddInteger("admission.in_flight_max", &config.hot.admission.in_flight_max, "signatures", 1,
                    limits::kCallsInFlightMax,
                    "Signatures under way, whatever the enclaves would take.");
  reader.AddInteger(
      "unlock.deks_ahead_max", &config.unlock_deks_ahead_max, "data keys", 0, 1024,
      "Data keys in use that an enclave opens, by a KMS call each, before it is asked "
      "to sign; the newest first.");
  reader.AddInteger("unlock.concurrency_max", &config.hot.data_plane.unlock.concurrency_max,
                    "unlocks", 1, 64,
                    "Data keys that are being opened at a time, over all enclaves. A call to KMS "
                    "takes some 10 ms.");
  reader.AddInteger("unlock.rate_max", &config.hot.data_plane.unlock.rate_max, "a second", 1,
                    10'000,
                    "Data keys whose opening begins within a second, retries among them. KMS's "
                    "quotas are for all of an account together.");
  reader.AddString("kms_forwarder.listen", &config.kms_forwarder_listen,
                   "Where enclaves find their way to KMS.");
  reader.AddString("kms_forwarder.target", &config.kms_forwarder_target,
                   "HOST:PORT of KMS, the only place that the way leads to: "
                   "kms.eu-central-1.amazonaws.com:443.");
  reader.AddString(
      "credentials_file", &config.credentials_file,
      "AWS credentials for the enclaves' calls to KMS: JSON with accessKeyId, "
      "secretAccessKey and, where there is one, sessionToken. Read again for each call.");
  reader.AddDuration("sign_timeout", &config.hot.calls.sign_timeout, milliseconds(1), minutes(1),
                     "A signature that is not there by then is given up.");
  reader.AddDuration("create_timeout", &config.hot.calls.create_timeout, milliseconds(1),
                     minutes(1), "The same for a new key.");
  RegisterRetries(config.hot.data_plane.retry, reader);
  reader.AddDuration("drain_timeout", &config.hot.drain_timeout, seconds(0), minutes(10),
                     "On SIGTERM, how long requests under way may take.");
  reader.AddDuration("retry_hint.min", &config.hot.calls.retry_hint_min, milliseconds(1),
                     seconds(60),
                     "Callers who are refused for the moment are told to come back after at least "
                     "this.");
  reader.AddDuration("retry_hint.max", &config.hot.calls.retry_hint_max, milliseconds(1),
                     seconds(60),
                     "And at most this, evenly spread, so that they do not come back together.");
  RegisterWantedKeyPolicy(config.key_policy, reader);
  // What gateway/config/apply hands on.
  reader.MarkHot("enclaves");
  reader.MarkHot("log_level");
  reader.MarkHot(kKeyPolicySection);
}

absl::Status Validate(const GatewayConfig& config, const ConfigReader& reader) {
  if (!config.store.starts_with(kSqliteScheme) || SqlitePath(config).empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: got \"{}\", want sqlite:///PATH", reader.Where("store"), config.store));
  }
  const LinkSettings& link = config.hot.data_plane.link;
  if (link.streams_max.Get() < link.streams_min.Get()) {
    return absl::InvalidArgumentError(fmt::format("{}: got {}, want at least pool.streams_min, {}",
                                                  reader.Where("pool.streams_max"),
                                                  link.streams_max.Get(), link.streams_min.Get()));
  }
  if (const CallSettings& calls = config.hot.calls;
      calls.retry_hint_max.Get() < calls.retry_hint_min.Get()) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: got {}ms, want at least retry_hint.min, {}ms", reader.Where("retry_hint.max"),
        calls.retry_hint_max.Get().count(), calls.retry_hint_min.Get().count()));
  }
  if (!ParseLogLevel(config.log_level)) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: got \"{}\", want {}", reader.Where("log_level"), config.log_level, kLogLevelsWanted));
  }
  if (config.enclaves.empty()) {
    return absl::InvalidArgumentError(fmt::format("{}: is needed", reader.Where("enclaves")));
  }
  BULLA_RETURN_IF_ERROR(CheckPlatform(config, reader));
  BULLA_RETURN_IF_ERROR(CheckAdopted(config, reader));
  if (absl::StatusOr<HostRules> hosts = HostRules::Parse(config.allowed_hosts); !hosts.ok()) {
    return absl::InvalidArgumentError(fmt::format("{}: {}", reader.Where("allowed_hosts"),
                                                  std::string(hosts.status().message())));
  }
  for (const auto& [key, value] : {std::pair{"kms_forwarder.target", &config.kms_forwarder_target},
                                   std::pair{"credentials_file", &config.credentials_file}}) {
    if (value->empty()) {
      return absl::InvalidArgumentError(fmt::format("{}: is needed", reader.Where(key)));
    }
  }
  BULLA_RETURN_IF_ERROR(CheckTcpAddresses(config, reader));
  BULLA_RETURN_IF_ERROR(CheckProxies(config, reader));
  return CheckWantedKeyPolicy(config.key_policy, reader);
}

absl::StatusOr<GatewayConfig> LoadGatewayConfig(const std::string& path,
                                                const ConfigReader::Environment& environment) {
  GatewayConfig config;
  ConfigReader reader;
  RegisterSettings(config, reader);
  BULLA_RETURN_IF_ERROR(reader.Load(path, environment));
  BULLA_RETURN_IF_ERROR(Validate(config, reader));
  return config;
}

std::map<std::string, std::string> HotValues(GatewayConfig running, const HotSettings& live) {
  running.hot = live;
  ConfigReader reader;
  RegisterSettings(running, reader);
  return reader.Defaults(ConfigReader::Takes::kEffectAtOnce);
}

std::vector<std::string> ColdDifferences(GatewayConfig running, GatewayConfig wanted) {
  for (std::string GatewayConfig::*listen :
       {&GatewayConfig::http_listen, &GatewayConfig::grpc_listen, &GatewayConfig::admin_listen}) {
    if (IsWhereWanted(running.*listen, wanted.*listen)) wanted.*listen = running.*listen;
  }
  ConfigReader reader_running;
  ConfigReader reader_wanted;
  RegisterSettings(running, reader_running);
  RegisterSettings(wanted, reader_wanted);
  constexpr auto kRestart = ConfigReader::Takes::kRestart;
  const std::map<std::string, std::string> wanted_values = reader_wanted.Defaults(kRestart);
  std::vector<std::string> keys;
  for (const auto& [key, value] : reader_running.Defaults(kRestart)) {
    if (value != wanted_values.at(key)) keys.push_back(key);
  }
  return keys;
}

absl::Status CheckEnclaveAddress(std::string_view platform, const Address& address) {
  BULLA_RETURN_IF_ERROR(CheckAddressOn(platform, address));
  if (platform == kSimulated) return absl::OkStatus();
  if (address.vsock_cid() >= kEnclaveCidMin && address.vsock_cid() != VMADDR_CID_ANY) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("address: got {}, want vsock:CID:PORT with the context id of an enclave, {} or "
                  "more, as `nitro-cli describe-enclaves` shows it",
                  address.ToString(), kEnclaveCidMin));
}

absl::StatusOr<std::vector<EnclaveSpec>> EnclaveSpecs(const std::vector<std::string>& enclaves,
                                                      std::string_view platform) {
  constexpr std::string_view kWeight = " weight=";
  std::vector<EnclaveSpec> specs;
  for (std::string_view text : enclaves) {
    std::size_t at = text.rfind(kWeight);
    // Behind the address; in the middle it is a folder's name.
    if (at != text.npos && text.find('/', at) != text.npos) at = text.npos;
    BULLA_ASSIGN_OR_RETURN(Address address, Address::Parse(text.substr(0, at)));
    BULLA_RETURN_IF_ERROR(CheckEnclaveAddress(platform, address));
    EnclaveSpec spec{.address = address};
    if (at != text.npos) {
      std::string_view number = text.substr(at + kWeight.size());
      auto [end, error] =
          std::from_chars(number.data(), number.data() + number.size(), spec.weight);
      if (error != std::errc() || end != number.data() + number.size() ||
          spec.weight > HashRing::kWeightMax) {
        return absl::InvalidArgumentError(fmt::format(
            "got \"{}\", want weight=N with N from 0 to {}", text, HashRing::kWeightMax));
      }
    }
    for (const EnclaveSpec& other : specs) {
      if (other.address.ToString() == address.ToString()) {
        return absl::InvalidArgumentError(fmt::format("\"{}\" is there twice", text));
      }
    }
    specs.push_back(spec);
  }
  return specs;
}

absl::StatusOr<ForwardedRules> ForwardedRulesOf(const GatewayConfig& config) {
  const std::optional<ForwardedField> field = ParseForwardedField(config.forwarded_field);
  if (!field) {
    return absl::InvalidArgumentError(fmt::format("proxies.field: got \"{}\", want {}",
                                                  config.forwarded_field,
                                                  fmt::join(kForwardedFieldNames, " or ")));
  }
  absl::StatusOr<IpNetworks> proxies = IpNetworks::Parse(config.trusted_proxies);
  if (!proxies.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("proxies.trusted: {}", std::string(proxies.status().message())));
  }
  return ForwardedRules{.field = *field, .proxies = *std::move(proxies)};
}

std::string SqlitePath(const GatewayConfig& config) {
  return config.store.substr(kSqliteScheme.size());
}

}  // namespace bulla
