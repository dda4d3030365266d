#pragma once

// The gateway's configuration and its file: loads it at start, then notices that the file has
// changed, and hands it on: what of it is hot takes effect at once (gateway/config/apply). The rest
// is named in a warning, since it needs a restart. A file that is wrong is
// refused whole, and what was in force stays.
//
// The file is looked at, not subscribed to: inotify does not follow a symlink to a new target, and
// that is how a ConfigMap changes. It is read when it is not as it was when last read and has
// rested since the last look, so that one that is being written is not taken half.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/config.h"
#include "base/file_stamp.h"
#include "base/mutex.h"
#include "base/status.h"
#include "gateway/config/gateway_config.h"

namespace bulla {

// Used by one thread at a time: main's, then the ticker's.
class ConfigWatch {
 public:
  // A change is noticed by one look and read at the next: within a second, and some to spare.
  static constexpr std::chrono::milliseconds kLookInterval{400};

  // Loads the configuration to run with, or says what is wrong with it. With an empty path only the
  // environment counts, and nothing is ever noticed.
  static absl::StatusOr<ConfigWatch> Load(
      std::string path, ConfigReader::Environment environment = ConfigReader::ProcessEnvironment);

  // What the gateway was started with.
  const GatewayConfig& running() const { return running_; }
  // The addresses that it got, where the configuration leaves the port to the kernel.
  void ListensOn(std::string http, std::string grpc, std::string admin);

  // Called often; looks when it is time to. The settings of a changed file that was taken, also
  // when they are those from before: to touch the file is to ask the enclaves again.
  std::optional<GatewayConfig> Tick(MonotonicTime now);
  // The next Tick() reads the file, changed or not.
  void ReadAnyway() { read_anyway_ = true; }

  // Why the file was refused when it was last read; empty when it was taken.
  const std::string& refused() const { return refused_; }
  // Keys whose values in the file last taken are not those that the gateway runs with.
  const std::vector<std::string>& restart_needed() const { return restart_needed_; }

 private:
  ConfigWatch(std::string path, ConfigReader::Environment environment)
      : path_(std::move(path)), environment_(std::move(environment)) {}
  std::string WhyNotHot(const GatewayConfig& config) const;
  bool IsDue(MonotonicTime now);

  std::string path_;
  ConfigReader::Environment environment_;
  GatewayConfig running_;

  MonotonicTime next_look_;
  FileStamp read_;  // as it was when last read
  FileStamp seen_;  // at the last look
  bool read_anyway_ = false;
  std::string refused_;
  std::vector<std::string> restart_needed_;
};

// How the file and the hot settings stand, as whoever watches the file last told, for those on
// other threads who show it. Thread-safe.
class ConfigReport {
 public:
  struct State {
    std::string refused;                          // ConfigWatch::refused()
    std::vector<std::string> restart_needed;      // ConfigWatch::restart_needed()
    std::map<std::string, std::string> hot = {};  // HotValues()
  };

  // `live` outlives it.
  ConfigReport(const GatewayConfig& running, const HotSettings& live)
      : live_(live), taken_(running) {}

  // A changed file's settings were taken and are in force.
  void Taken(const GatewayConfig& config) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    taken_ = config;
  }

  void Take(const ConfigWatch& watch) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    refused_ = watch.refused();
    restart_needed_ = watch.restart_needed();
  }
  State state() const BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return {
        .refused = refused_, .restart_needed = restart_needed_, .hot = HotValues(taken_, live_)};
  }

 private:
  const HotSettings& live_;
  mutable Mutex mutex_;
  GatewayConfig taken_ BULLA_GUARDED_BY(mutex_);
  std::string refused_ BULLA_GUARDED_BY(mutex_);
  std::vector<std::string> restart_needed_ BULLA_GUARDED_BY(mutex_);
};

}  // namespace bulla
