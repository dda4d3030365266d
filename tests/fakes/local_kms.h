#pragma once

// KMS as an enclave sees it, in one process: the local KMS over TLS on a loopback socket, and a
// client of it with a simulated NSM.

#include <arpa/inet.h>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>

#include <boost/json.hpp>

#include "base/check.h"
#include "base/mutex.h"
#include "kms/kms_client.h"
#include "kms/simulated_nsm.h"
#include "localkms/server.h"

namespace bulla {

inline constexpr char kRegion[] = "eu-central-1";
inline const AwsCredentials kCaller{"AKIDTESTAKIDTEST", "test-secret-test-secret", "test-token"};

// The real time, since TLS certificates are made by it, and a distance from it.
class OffsetClock final : public Clock {
 public:
  explicit OffsetClock(std::chrono::seconds offset = std::chrono::seconds(0)) : offset_(offset) {}
  MonotonicTime Now() const override { return real_.Now(); }
  WallTime WallNow() const override { return real_.WallNow() + offset_; }

 private:
  RealClock real_;
  std::chrono::seconds offset_;
};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = std::filesystem::temp_directory_path() / "bulla-kms-test-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline absl::StatusOr<UniqueFd> DialTcp(const std::string& address) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    return absl::UnavailableError("cannot connect");
  }
  return fd;
}

// Everything is public: a test's own.
class LocalKmsWorld {
 public:
  LocalKmsWorld() {
    BULLA_CHECK(MakeSimulatedRoot(folder_ / "root", clock_.WallNow()).ok(), "a root");
    nsm_ = *SimulatedNsm::Create(folder_ / "root", SimulatedPcrs("test"), clock_);
    recipient_ = *Recipient::Generate();
    tls_ = *MakeTlsIdentity(folder_ / "tls", kRegion, clock_.WallNow());
    StartServer();
    key_arn_ = (*keys_->Create("test", clock_.WallNow()))->arn;
    client_ = NewClient(*nsm_);
  }

  void StartServer() {
    keys_ = *KeyRing::Open(folder_ / "keys", kRegion);
    KmsServiceOptions options;
    options.region = kRegion;
    options.credentials = {kCaller};
    options.attestation_root = *TrustAnchor::FromPem(ReadWholeFile(folder_ / "root/root.pem"));
    service_ = std::make_unique<KmsService>(options, *keys_, clock_);
    server_ = *KmsServer::Start({.listen = "127.0.0.1:0", .tls = tls_, .threads = 2},
                                [this](const KmsRequest& request) {
                                  if (away_) return KmsReply{503, "{}"};
                                  KmsReply reply = service_->Handle(request);
                                  MutexLock lock(mutex_);
                                  last_reply_ = reply.body;
                                  return reply;
                                });
  }

  void StopServer() {
    server_.reset();
    service_.reset();
    keys_.reset();
  }

  KmsClientOptions ClientOptions(Nsm& nsm) {
    KmsClientOptions options;
    options.dial = [this] {
      ++dials_;
      return DialTcp(server_->address());
    };
    options.kms_host = std::string("kms.") + kRegion + ".amazonaws.com";
    options.region = kRegion;
    options.key_arn = key_arn_;
    options.ca_pem = ReadWholeFile(tls_.ca);
    options.nsm = &nsm;
    options.recipient = recipient_.get();
    options.clock = &clock_;
    return options;
  }
  std::unique_ptr<KmsClient> NewClient(Nsm& nsm) { return *KmsClient::Create(ClientOptions(nsm)); }

  MonotonicTime Deadline() const { return clock_.Now() + std::chrono::seconds(10); }
  std::int64_t Calls(const char* operation) {
    return boost::json::parse(service_->Handle({"GET", "/stats", {}, ""}).body)
        .at(operation)
        .as_int64();
  }
  std::string LastReply() BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return last_reply_;
  }

  OffsetClock clock_;
  TemporaryFolder folder_;
  TlsFiles tls_;
  std::string key_arn_;
  std::atomic<int> dials_ = 0;
  std::atomic<bool> away_ = false;  // every call is answered 503
  Mutex mutex_;
  std::string last_reply_ BULLA_GUARDED_BY(mutex_);
  std::unique_ptr<SimulatedNsm> nsm_;
  std::unique_ptr<Recipient> recipient_;
  std::unique_ptr<KeyRing> keys_;
  std::unique_ptr<KmsService> service_;
  std::unique_ptr<KmsServer> server_;
  std::unique_ptr<KmsClient> client_;
  const DekId dek_id_ = DekId::New(WallTime(std::chrono::seconds(1'700'000'000)));
};

}  // namespace bulla
