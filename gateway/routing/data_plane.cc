#include "gateway/routing/data_plane.h"

#include <algorithm>
#include <utility>

namespace bulla {
namespace {

// A million disabled keys are read in a second. Until they are, signatures are UNAVAILABLE.
constexpr std::chrono::milliseconds kDisabledKeysPatience{5000};

// Renewed credentials are noticed by then.
constexpr std::chrono::milliseconds kCredentialsLookInterval{1000};

}  // namespace

DataPlane::DataPlane(Options options, const DataPlaneSettings& settings, KeyStore& store,
                     Metrics& metrics, const Environment& environment)
    : options_(std::move(options)),
      settings_(settings),
      store_(store),
      environment_(environment),
      clock_(environment.clock),
      key_policy_(options_.key_policy),
      pool_metrics_(metrics),
      disabled_(store, metrics),
      retry_budget_(settings.retry),
      unlocker_(options_.deks_ahead_max, settings.unlock, store, metrics, environment),
      fleet_([this](const Address& address, std::uint32_t id) { return MakeLink(address, id); },
             environment),
      router_({.fleet = fleet_,
               .unlocker = unlocker_,
               .disabled = disabled_,
               .retry_budget = retry_budget_,
               .settings = settings.retry,
               .store = store,
               .clock = clock_,
               .send_due_at = [this](MonotonicTime due) { batch_timer_->WakeBy(due); }},
              metrics),
      rebalancer_(fleet_, store, metrics, settings.rebalancing_step_interval, environment),
      batch_timer_(
          environment.timers.Make("batches", [this] { return router_.SendDue(clock_.Now()); })) {
  disabled_.OnDisabled([this] {
    const std::shared_ptr<const Fleet::Table> table = fleet_.table();
    for (const auto& member : table->members) member->link()->ForgetSoon();
  });
}

std::shared_ptr<EnclaveLink> DataPlane::MakeLink(const Address& address, std::uint32_t id) {
  KeyPolicy key_policy;
  {
    MutexLock lock(mutex_);
    key_policy = key_policy_;
  }
  return std::make_shared<EnclaveLink>(
      EnclaveLink::Options{
          .address = address,
          .id = id,
          .credentials_file = options_.credentials_file,
          .platform = options_.platform,
          .key_policy = key_policy,
          .adopt = std::ranges::count(options_.adopt_enclaves, address.ToString()) > 0,
          .probe_interval = options_.probe_interval},
      settings_.link, router_, store_, disabled_, pool_metrics_, environment_);
}

DataPlane::~DataPlane() { Stop(); }

void DataPlane::StartBlocking() {
  credentials_ = FileStamp::Of(options_.credentials_file);
  disabled_.Tick(clock_.Now());
  disabled_.AwaitFirst(kDisabledKeysPatience);
  fleet_.Reconcile(options_.enclaves);
  rebalancer_.Start();
}

void DataPlane::Stop() {
  router_.Stop();
  batch_timer_->Stop();
  rebalancer_.Stop();
  fleet_.Stop();
  router_.Stop();  // what the links gave back last
}

void DataPlane::SetKeyPolicy(const KeyPolicy& policy) {
  {
    MutexLock lock(mutex_);
    key_policy_ = policy;
  }
  const std::shared_ptr<const Fleet::Table> table = fleet_.table();
  for (const auto& member : table->members) member->link()->SetKeyPolicy(policy);
}

void DataPlane::RetryRefused() {
  unlocker_.RetryRefused();
  const std::shared_ptr<const Fleet::Table> table = fleet_.table();
  for (const auto& member : table->members) member->link()->RetryRefused();
}

void DataPlane::LookAtCredentials(MonotonicTime now) {
  if (now < next_credentials_look_) return;
  next_credentials_look_ = now + kCredentialsLookInterval;
  const FileStamp stamp = FileStamp::Of(options_.credentials_file);
  if (stamp != std::exchange(credentials_, stamp)) RetryRefused();
}

void DataPlane::Tick(MonotonicTime now) {
  retry_budget_.Tick(now);
  router_.Tick(now);
  fleet_.Tick(now, [this](const EnclaveLink& link) { return unlocker_.settled(link); });
  disabled_.Tick(now);
  LookAtCredentials(now);
  unlocker_.Tick(now);
}

}  // namespace bulla
