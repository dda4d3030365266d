// bulla-gateway: takes callers' requests over HTTP and gRPC, routes them to enclaves, keeps sealed
// keys. It holds no key and links no code that could use one.

#include <atomic>
#include <cstdio>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <CLI/CLI.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/acceptor.h"
#include "base/build_info.h"
#include "base/command_line.h"
#include "base/daemon.h"
#include "base/file.h"
#include "base/host_port.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/ticker.h"
#include "gateway/access/admission.h"
#include "gateway/admin/enclave_metrics.h"
#include "gateway/admin/server.h"
#include "gateway/admin/status_report.h"
#include "gateway/admin/store_metrics.h"
#include "gateway/config/gateway_config.h"
#include "gateway/config/watch.h"
#include "gateway/grpc/server.h"
#include "gateway/http/server.h"
#include "gateway/routing/router.h"
#include "gateway/unlock/kms_forwarder.h"
#include "store/sqlite/store.h"
#include "wire/grpc_callbacks.h"

namespace bulla {
namespace {

// Deadlines are kept to within a tick.
constexpr auto kTick = std::chrono::milliseconds(10);
// The ready file waits for every enclave and for the DEKs in use, but not for ever: one enclave
// that is down must not hold up the others.
constexpr auto kReadyPatience = std::chrono::seconds(5);

constexpr char kExamples[] = R"(
Examples:
  bulla-gateway --config /etc/bulla/gateway.yaml
  BULLA_HTTP_LISTEN=0.0.0.0:8080 bulla-gateway --config /etc/bulla/gateway.yaml
The settings, each with its default: docs/config.md.)";

struct Flags {
  std::string config_file;
  std::string ready_file;
};

absl::StatusOr<std::unique_ptr<KmsForwarder>> StartForwarder(const GatewayConfig& config,
                                                             Metrics& metrics) {
  BULLA_ASSIGN_OR_RETURN(Address listen, Address::Parse(config.kms_forwarder_listen));
  BULLA_ASSIGN_OR_RETURN(HostPort target, ParseTarget(config.kms_forwarder_target));
  return KmsForwarder::Start({.listen = listen,
                              .target_host = target.host,
                              .target_port = std::to_string(target.port),
                              .on_accept_pause = Acceptor::CountIn(metrics, "kms_forwarder")});
}

absl::StatusOr<Router::Options> RouterOptions(const GatewayConfig& config) {
  BULLA_ASSIGN_OR_RETURN(std::vector<EnclaveSpec> enclaves,
                         EnclaveSpecs(config.enclaves, config.platform));
  return Router::Options{.enclaves = std::move(enclaves),
                         .pool = {.size_min = static_cast<std::size_t>(config.pool_streams_min),
                                  .size_max = static_cast<std::size_t>(config.pool_streams_max),
                                  .batch = config.batch,
                                  .queue_wait_max = config.queue_wait_max},
                         .credentials_file = config.credentials_file,
                         .platform = config.platform,
                         .deks_ahead_max = static_cast<std::size_t>(config.unlock_deks_ahead_max),
                         .key_policy = config.key_policy,
                         .adopt_enclaves = config.adopt_enclaves,
                         .step_interval = config.migration_step_interval};
}

// What of a changed configuration takes effect at once. The enclaves only when the file says other
// ones than before, so that what was changed by hand meanwhile outlives a change of something else.
void Apply(const GatewayConfig& config, std::string_view platform,
           std::vector<std::string>& enclaves, Router& router) {
  router.SetKeyPolicy(config.key_policy);
  router.RetryRefused();
  if (config.enclaves == enclaves) return;
  enclaves = config.enclaves;
  absl::StatusOr<std::vector<EnclaveSpec>> specs = EnclaveSpecs(config.enclaves, platform);
  if (specs.ok()) router.fleet().Reconcile(*specs);  // ConfigWatch saw to it
}

StoreStatus StatusOf(const SqliteStore& store) {
  return {.path = store.path(),
          .identity = store.identity(),
          .is_new = store.is_new(),
          .health = store.health()};
}

absl::Status Change(const EnclaveChange& change, std::string_view platform, Fleet& fleet) {
  switch (change.kind) {
    case EnclaveChange::Kind::kAdd:
      BULLA_RETURN_IF_ERROR(CheckEnclaveAddress(platform, change.address));
      return fleet.Add({.address = change.address, .weight = change.weight});
    case EnclaveChange::Kind::kSetWeight:
      return fleet.SetWeight(change.address, change.weight);
    case EnclaveChange::Kind::kRemove:
      return fleet.Remove(change.address);
  }
  return absl::InternalError("a kind of change that there is not");
}

// What a listener could not do, with its name in front.
absl::StatusOr<std::string> Named(std::string_view listener, absl::StatusOr<std::string> address) {
  if (address.ok()) return address;
  return absl::Status(
      address.status().code(),
      fmt::format("{} listener {}", listener, std::string(address.status().message())));
}

// Tells who is let in what the enclaves take.
class AdmissionFeed {
 public:
  AdmissionFeed(Admission& admission, const Router& router)
      : admission_(admission), router_(router) {}

  void Tick(MonotonicTime now) {
    if (now < next_) return;
    next_ = now + Admission::kTick;
    Admission::Enclaves enclaves;
    const std::shared_ptr<const Fleet::Table> table = router_.fleet().table();
    for (const auto& member : table->members) {
      const StreamPool::Admitted admitted = member->link()->pool().admitted();
      if (member->in_service()) enclaves.in_flight_max += admitted.in_flight_max;
      enclaves.refused += admitted.refused;
    }
    admission_.Tick(now, enclaves);
  }

 private:
  Admission& admission_;
  const Router& router_;
  MonotonicTime next_;
};

// Writes the ready file once, when every enclave is there and the DEKs in use are open, or when
// some enclave is and patience has run out.
class ReadyFile {
 public:
  ReadyFile(std::string path, std::string text, MonotonicTime started)
      : path_(std::move(path)), text_(std::move(text)), started_(started) {}

  void Tick(const Router& router, GrpcServer& grpc, MonotonicTime now) {
    const std::size_t available = router.fleet().available();
    grpc.SetServing(available > 0);
    if (written_ || available == 0) return;
    const bool settled =
        available == router.fleet().table()->members.size() && router.unlocker().settled();
    if (!settled && now < started_ + kReadyPatience) return;
    written_ = true;
    LogInfo("gateway_ready", {{"enclaves", available}});
    if (path_.empty()) return;
    absl::Status status = WriteFileAtomically(path_, text_);
    if (!status.ok()) LogError("ready_file_failed", {{"reason", status.ToString()}});
  }

 private:
  const std::string path_;
  const std::string text_;
  const MonotonicTime started_;
  bool written_ = false;
};

absl::Status Serve(const Flags& flags) {
  std::atomic<bool> hangup{false};
  StopSignals stop([&] { hangup = true; });
  ReturnLargeBuffersAtOnce();
  std::size_t descriptors_max = RaiseDescriptorLimit();
  BULLA_ASSIGN_OR_RETURN(ConfigWatch config_watch, ConfigWatch::Load(flags.config_file));
  const GatewayConfig& config = config_watch.running();
  SetLogLevel(config.log_level);
  BULLA_ASSIGN_OR_RETURN(Router::Options router_options, RouterOptions(config));
  BULLA_ASSIGN_OR_RETURN(HostRules hosts, HostRules::Parse(config.allowed_hosts));

  TuneGrpcForTraffic();
  RealClock clock;
  Metrics metrics;
  const BuildInfo build = ThisBuild();
  AddBuildInfo(build, metrics);
  BULLA_ASSIGN_OR_RETURN(
      std::unique_ptr<SqliteStore> store,
      SqliteStore::Open({.path = SqlitePath(config), .idempotency_ttl = config.idempotency_ttl}));
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<KmsForwarder> forwarder, StartForwarder(config, metrics));
  Router router(std::move(router_options), *store, metrics, clock);
  metrics.AddSource([&store] { return StoreFamilies(store->health(), store->transactions()); });
  metrics.AddSource([&router] { return EnclaveFamilies(router.fleet().statuses()); });
  Admission admission(config.admission, metrics);
  const std::size_t connections_max = HttpServer::ConnectionsMax(descriptors_max);
  if (connections_max < limits::kHttpConnectionsMax) {
    LogWarn("http_connections_few",
            {{"connections_max", connections_max},
             {"instead_of", limits::kHttpConnectionsMax},
             {"next", fmt::format("allow {} open files (LimitNOFILE=, ulimit -n), got {}",
                                  limits::kHttpConnectionsMax + limits::kOtherDescriptors,
                                  descriptors_max)}});
  }
  BULLA_ASSIGN_OR_RETURN(ForwardedRules forwarded, ForwardedRulesOf(config));
  HttpServer http({.listen = config.http_listen,
                   .hosts = hosts,
                   .threads = static_cast<int>(config.http_threads),
                   .connections_max = connections_max,
                   .forwarded = forwarded,
                   .proxy_protocol = config.http_proxy_protocol,
                   .idle_timeout = config.http_idle_timeout,
                   .header_timeout = config.http_header_timeout,
                   .body_timeout = config.http_body_timeout,
                   .write_timeout = config.http_write_timeout,
                   .sign_timeout = config.sign_timeout,
                   .create_timeout = config.create_timeout},
                  router, admission, metrics, clock);
  GrpcServer grpc({.listen = config.grpc_listen,
                   .hosts = hosts,
                   .sign_timeout = config.sign_timeout,
                   .create_timeout = config.create_timeout,
                   .forwarded = forwarded,
                   .proxy_protocol = config.grpc_proxy_protocol},
                  router, admission, metrics, clock);
  ConfigReport config_report;  // the ticker tells, the admin listener shows
  std::atomic<bool> draining{false};
  AdminServer admin(
      {.listen = config.admin_listen, .socket = config.admin_socket, .hosts = hosts},
      {.not_ready_because =
           [&] {
             return draining ? std::vector<std::string>{"draining"}
                             : NotReadyBecause(router, store->health());
           },
       .not_ready_to_sign_because =
           [&] {
             return draining ? std::vector<std::string>{"draining"} : NotReadyToSignBecause(router);
           },
       .status_json =
           [&] { return StatusJson(build, router, StatusOf(*store), config_report.state()); },
       .list_keys =
           [&](std::optional<KeyId> after, std::size_t limit, AdminServer::KeysDone done) {
             store->ListKeys(after, limit, std::move(done));
           },
       .enclaves_json = [&] { return EnclavesJson(router); },
       .change_enclave =
           [&](const EnclaveChange& change) {
             return Change(change, config.platform, router.fleet());
           }},
      metrics);

  BULLA_ASSIGN_OR_RETURN(std::string http_address, Named("http", http.Start()));
  BULLA_ASSIGN_OR_RETURN(std::string grpc_address, Named("grpc", grpc.Start()));
  BULLA_ASSIGN_OR_RETURN(std::string admin_address, Named("admin", admin.Start()));
  config_watch.ListensOn(http_address, grpc_address, admin_address);
  LogInfo("gateway_serving", {{"version", build.version},
                              {"commit", build.commit},
                              {"http", http_address},
                              {"grpc", grpc_address},
                              {"admin", admin_address},
                              {"descriptors_max", descriptors_max}});
  router.Start();
  ReadyFile ready(flags.ready_file,
                  boost::json::serialize(boost::json::object{
                      {"http", http_address}, {"grpc", grpc_address}, {"admin", admin_address}}),
                  clock.Now());
  std::vector<std::string> enclaves = config.enclaves;  // the ticker's
  AdmissionFeed admission_feed(admission, router);
  Ticker ticker("ticker", kTick, [&] {
    MonotonicTime now = clock.Now();
    router.Tick(now);
    admission_feed.Tick(now);
    if (hangup.exchange(false)) {
      config_watch.ReadAnyway();
      router.RetryRefused();
    }
    if (std::optional<GatewayConfig> changed = config_watch.Tick(now)) {
      Apply(*changed, config.platform, enclaves, router);
    }
    config_report.Take(config_watch);
    if (!draining) ready.Tick(router, grpc, now);
  });

  LogInfo("gateway_draining", {{"signal", stop.WaitBlocking()}});
  draining = true;  // readiness first, so that a load balancer looks elsewhere
  MonotonicTime deadline = clock.Now() + config.drain_timeout;
  std::thread grpc_drain([&] { grpc.Drain(deadline); });
  bool drained = http.Drain(deadline);
  grpc_drain.join();
  LogInfo("gateway_stopping", {{"drained", drained}});
  http.Stop();
  grpc.Stop();
  admin.Stop();
  ticker.Stop();
  router.Stop();
  store->Close();
  return absl::OkStatus();
}

}  // namespace
}  // namespace bulla

int main(int argc, char** argv) {
  bulla::HoldStandardDescriptors();
  bulla::Flags flags;
  CLI::App app("The gateway: HTTP and gRPC in front of the enclaves.", "bulla-gateway");
  app.add_option("--config", flags.config_file, "The settings, YAML")->required();
  app.add_option("--ready-file", flags.ready_file,
                 "Written as {\"http\", \"grpc\", \"admin\"} once calls can be taken");
  app.footer(bulla::kExamples);
  if (std::optional<int> status =
          bulla::ParseCommandLine(app, bulla::ThisBuild(), argc, argv, std::cout, std::cerr)) {
    return *status;
  }

  absl::Status status = bulla::Serve(flags);
  if (!status.ok()) {
    bulla::LogError("gateway_failed", {{"reason", status.ToString()}});
    std::fprintf(stderr, "bulla-gateway: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
