#include "gateway/config/watch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <utility>

#include "base/log.h"

namespace bulla {

absl::StatusOr<ConfigWatch> ConfigWatch::Load(std::string path,
                                              ConfigReader::Environment environment) {
  ConfigWatch watch(std::move(path), std::move(environment));
  watch.read_ = watch.seen_ =
      FileStamp::Of(watch.path_);  // before it is read: a later change is noticed
  BULLA_ASSIGN_OR_RETURN(watch.running_, LoadGatewayConfig(watch.path_, watch.environment_));
  return watch;
}

void ConfigWatch::ListensOn(std::string http, std::string grpc, std::string admin) {
  running_.http_listen = std::move(http);
  running_.grpc_listen = std::move(grpc);
  running_.admin_listen = std::move(admin);
}

// What is hot has to fit what the gateway was started as, whatever else the file says now.
std::string ConfigWatch::WhyNotHot(const GatewayConfig& config) const {
  absl::Status status = EnclaveSpecs(config.enclaves, running_.platform).status();
  return status.ok() ? "" : fmt::format("{}: enclaves: {}", path_, std::string(status.message()));
}

bool ConfigWatch::IsDue(MonotonicTime now) {
  if (read_anyway_) return true;
  if (now < next_look_) return false;
  next_look_ = now + kLookInterval;
  FileStamp before = std::exchange(seen_, FileStamp::Of(path_));
  return seen_ != read_ && seen_ == before;
}

std::optional<GatewayConfig> ConfigWatch::Tick(MonotonicTime now) {
  if (!IsDue(now)) return std::nullopt;
  read_anyway_ = false;
  read_ = FileStamp::Of(path_);
  absl::StatusOr<GatewayConfig> config = LoadGatewayConfig(path_, environment_);
  refused_ = config.ok() ? WhyNotHot(*config) : std::string(config.status().message());
  if (!refused_.empty()) {
    LogError("config_refused", {{"reason", refused_}});
    return std::nullopt;
  }
  LogInfo("config_reloaded", {{"file", path_}});
  restart_needed_ = ColdDifferences(running_, *config);
  if (!restart_needed_.empty()) {
    LogWarn("config_needs_restart",
            {{"keys", fmt::format("{}", fmt::join(restart_needed_, ", "))}});
  }
  return *std::move(config);
}

}  // namespace bulla
