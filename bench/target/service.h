#pragma once

// The service that is measured: one that runs already, known by the endpoints.json that `bulla dev`
// leaves, or one that is started here and gone with its owner.

#include <filesystem>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/status.h"
#include "bench/load/traffic.h"

namespace bulla {

// Where a service listens, HOST:PORT, and which processes it is. The KMS is none of them: it is
// another's, on another machine.
struct Service {
  std::string http;
  std::string grpc;
  std::string admin;
  pid_t gateway = 0;
  std::vector<pid_t> enclaves;

  const std::string& AddressFor(Protocol protocol) const { return IsGrpc(protocol) ? grpc : http; }
};

// The content of endpoints.json. INVALID_ARGUMENT says what is missing.
absl::StatusOr<Service> ParseService(std::string_view json);
// INVALID_ARGUMENT when the file cannot be read, or is no endpoints.json with process ids.
absl::StatusOr<Service> ReadService(const std::filesystem::path& file);

// CPU time since they began.
struct ServiceCpu {
  Duration gateway{};
  Duration enclaves{};

  ServiceCpu operator-(const ServiceCpu& before) const {
    return {gateway - before.gateway, enclaves - before.enclaves};
  }
};
// UNAVAILABLE when one of the processes has ended.
absl::StatusOr<ServiceCpu> CpuTimeOf(const Service& service);

struct ServiceOptions {
  std::filesystem::path program_dir;  // where `bulla` is
  int enclaves = 1;
  std::vector<std::string> dev_arguments;       // further ones, for `bulla dev`
  std::map<std::string, std::string> settings;  // environment variables of the daemons
};

// A `bulla dev` on free ports over a data directory of its own. It is stopped and its data removed
// when the thread that started it ends, whatever ended it.
class OwnService {
 public:
  // Blocks until it is ready. INTERNAL, with the end of its log, when it does not become so.
  static absl::StatusOr<OwnService> StartBlocking(const ServiceOptions& options,
                                                  const Clock& clock);

  OwnService(OwnService&& other) noexcept;
  OwnService& operator=(OwnService&&) = delete;
  ~OwnService();  // blocks until it has stopped; removes its data

  const Service& service() const { return service_; }

 private:
  OwnService() = default;

  absl::Status Spawn(const ServiceOptions& options);
  absl::Status AwaitReadyBlocking(const Clock& clock);
  std::string EndOfLog() const;

  std::filesystem::path data_;  // empty: moved from
  pid_t pid_ = -1;              // of its keeper, see service.cc
  UniqueFd pid_fd_;
  Service service_;
};

// What is measured: a service that runs (its endpoints.json), or, when `target` is empty, one of
// its own.
struct ServiceChoice {
  std::filesystem::path target;
  ServiceOptions own;
};

class ChosenService {
 public:
  // Blocks. Errors as above. Says on `err` that a service is started.
  static absl::StatusOr<ChosenService> OpenBlocking(const ServiceChoice& choice, const Clock& clock,
                                                    std::ostream& err);

  const Service& service() const { return service_; }
  std::string description() const { return description_; }  // which one, for a report

 private:
  std::optional<OwnService> own_;
  Service service_;
  std::string description_;
};

}  // namespace bulla
