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

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/build_info.h"
#include "base/command_line.h"
#include "base/daemon.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "base/ticker.h"
#include "base/wake_timer.h"
#include "gateway/access/admission.h"
#include "gateway/access/admission_filter.h"
#include "gateway/admin/enclave_change.h"
#include "gateway/admin/enclave_metrics.h"
#include "gateway/admin/ready_file.h"
#include "gateway/admin/server.h"
#include "gateway/admin/status_report.h"
#include "gateway/admin/store_metrics.h"
#include "gateway/config/apply.h"
#include "gateway/config/options.h"
#include "gateway/config/watch.h"
#include "gateway/grpc/server.h"
#include "gateway/http/server.h"
#include "gateway/keys/key_service.h"
#include "gateway/link/http2_transport.h"
#include "gateway/routing/data_plane.h"
#include "gateway/unlock/kms_forwarder.h"
#include "store/sqlite/store.h"

namespace bulla {
namespace {

// Deadlines are kept to within a tick.
constexpr auto kTick = std::chrono::milliseconds(10);

constexpr char kExamples[] = R"(
Examples:
  bulla-gateway --config /etc/bulla/gateway.yaml
  BULLA_HTTP_LISTEN=0.0.0.0:8080 bulla-gateway --config /etc/bulla/gateway.yaml
The settings, each with its default: docs/config.md.)";

struct Flags {
  std::string config_file;
  std::string ready_file;
};

StoreStatus StatusOf(const SqliteStore& store) {
  return {.path = store.path(),
          .identity = store.identity(),
          .is_new = store.is_new(),
          .health = store.health()};
}

// What a listener could not do, with its name in front.
absl::StatusOr<std::string> Named(std::string_view listener, absl::StatusOr<std::string> address) {
  if (address.ok()) return address;
  return absl::Status(
      address.status().code(),
      fmt::format("{} listener {}", listener, std::string(address.status().message())));
}

absl::Status Serve(const Flags& flags) {
  std::atomic<bool> hangup{false};
  StopSignals stop([&] { hangup = true; });
  ReturnLargeBuffersAtOnce();
  const std::size_t descriptors_max = RaiseDescriptorLimit();
  const RealClock clock;
  Metrics metrics;
  const BuildInfo build = ThisBuild();
  AddBuildInfo(build, metrics);

  // The settings, and what each part takes of them: what is wrong is said before anything starts.
  BULLA_ASSIGN_OR_RETURN(ConfigWatch config_watch, ConfigWatch::Load(flags.config_file));
  const GatewayConfig& config = config_watch.running();
  HotSettings live = config.hot;  // what all parts read
  SetLogLevel(*ParseLogLevel(config.log_level));
  BULLA_ASSIGN_OR_RETURN(DataPlane::Options data_plane_options, DataPlaneOptionsOf(config));
  BULLA_ASSIGN_OR_RETURN(HttpServer::Options http_options,
                         HttpOptionsOf(config, live, descriptors_max));
  BULLA_ASSIGN_OR_RETURN(GrpcServer::Options grpc_options,
                         GrpcOptionsOf(config, live, descriptors_max));
  BULLA_ASSIGN_OR_RETURN(KmsForwarder::Options forwarder_options,
                         KmsForwarderOptionsOf(config, metrics));

  // Behind: the store, the way to KMS, the way to the enclaves.
  BULLA_ASSIGN_OR_RETURN(
      std::unique_ptr<SqliteStore> store,
      SqliteStore::Open({.path = SqlitePath(config), .idempotency_ttl = config.idempotency_ttl}));
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<KmsForwarder> forwarder,
                         KmsForwarder::Start(forwarder_options));
  ThreadTimers timers(clock);
  Http2Transport transport(clock);
  DataPlane data_plane(
      std::move(data_plane_options), live.data_plane, *store, metrics,
      {.clock = clock, .timers = timers, .transport = transport, .random = RandomUint64});
  metrics.AddSource([&] { return StoreFamilies(store->health(), store->transactions()); });
  metrics.AddSource([&] { return EnclaveFamilies(data_plane.fleet().statuses()); });

  // What every call passes on its way to the keys, the last first.
  KeyService keys(data_plane, *store, clock);
  Clients clients;
  Admission admission(live.admission, clients, metrics);
  SignerChain chain(keys);
  chain.Add<AdmissionFilter>(admission, clock);

  // In front: the listeners.
  const HostRules hosts = http_options.hosts;
  HttpServer http(std::move(http_options), chain.front(), clients, metrics, clock);
  GrpcServer grpc(std::move(grpc_options), chain.front(), clients, metrics, clock);
  ConfigReport config_report(config, live);  // the ticker tells, the admin listener shows
  std::atomic<bool> draining{false};
  const auto unless_draining = [&](std::vector<std::string> reasons) {
    return draining ? std::vector<std::string>{"draining"} : std::move(reasons);
  };
  AdminServer admin(
      {.listen = config.admin_listen, .socket = config.admin_socket, .hosts = hosts},
      {.not_ready_because =
           [&] { return unless_draining(NotReadyBecause(data_plane, store->health())); },
       .not_ready_to_sign_because =
           [&] { return unless_draining(NotReadyToSignBecause(data_plane)); },
       .status_json =
           [&] { return StatusJson(build, data_plane, StatusOf(*store), config_report.state()); },
       .list_keys =
           [&](std::optional<KeyId> after, std::size_t limit, AdminServer::KeysDone done) {
             store->ListKeys(after, limit, std::move(done));
           },
       .enclaves_json = [&] { return EnclavesJson(data_plane); },
       .change_enclave =
           [&](const EnclaveChange& change) {
             return ApplyEnclaveChange(change, config.platform, data_plane.fleet());
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
  data_plane.StartBlocking();
  ReadyFile ready(flags.ready_file,
                  boost::json::serialize(boost::json::object{
                      {"http", http_address}, {"grpc", grpc_address}, {"admin", admin_address}}),
                  clock.Now());
  ConfigApplier config_applier(config, live, data_plane);
  Ticker ticker("ticker", kTick, [&] {
    const MonotonicTime now = clock.Now();
    data_plane.Tick(now);
    const Fleet::Capacity capacity = data_plane.fleet().capacity();
    admission.Tick(now, {.in_flight_max = capacity.in_flight_max, .refused = capacity.refused});
    if (hangup.exchange(false)) {
      config_watch.ReadAnyway();
      data_plane.RetryRefused();
    }
    if (std::optional<GatewayConfig> changed = config_watch.Tick(now)) {
      config_applier.Apply(*changed);
      config_report.Taken(*changed);
    }
    config_report.Take(config_watch);
    if (draining) return;
    grpc.SetServing(data_plane.fleet().available() > 0);
    ready.Tick(data_plane, now);
  });

  LogInfo("gateway_draining", {{"signal", stop.WaitBlocking()}});
  draining = true;  // readiness first, so that a load balancer looks elsewhere
  const MonotonicTime deadline = clock.Now() + live.drain_timeout.Get();
  std::thread grpc_drain([&] { grpc.Drain(deadline); });
  const bool drained = http.Drain(deadline);
  grpc_drain.join();
  LogInfo("gateway_stopping", {{"drained", drained}});
  http.Stop();
  grpc.Stop();
  admin.Stop();
  ticker.Stop();
  data_plane.Stop();
  store->Close();
  return absl::OkStatus();
}

}  // namespace
}  // namespace bulla

int main(int argc, char** argv) {
  bulla::HoldStandardDescriptors();
  bulla::Flags flags;
  bulla::ProgramOptions options("The gateway: HTTP and gRPC in front of the enclaves.",
                                "bulla-gateway", bulla::kExamples);
  options.AddText("--config", flags.config_file, "The settings, YAML", {.required = true});
  options.AddText("--ready-file", flags.ready_file,
                  "Written as {\"http\", \"grpc\", \"admin\"} once calls can be taken");
  if (std::optional<int> status =
          options.Parse(bulla::ThisBuild(), argc, argv, std::cout, std::cerr)) {
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
