#pragma once

// What a test of a front end stands on: an HttpServer or a GrpcServer on a free port of loopback,
// with a fake service behind it that knows one key.

#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <string>

#include "gateway/access/admission_filter.h"
#include "gateway/frontend/call_settings.h"
#include "tests/fakes/fake_signer_service.h"

namespace bulla {

template <typename Server>
class FrontEndTest : public testing::Test {
 protected:
  void StartServer(typename Server::Options options = {}) {
    options.listen = "127.0.0.1:0";
    server_.reset();
    admission_.emplace(admission_settings_, clients_, metrics_);
    chain_.emplace(service_, *admission_, clock_);
    server_ = std::make_unique<Server>(options, *chain_, clients_, metrics_, clock_);
    absl::StatusOr<std::string> address = server_->Start();
    ASSERT_TRUE(address.ok()) << address.status();
    address_ = *address;
  }

  RealClock clock_;
  Metrics metrics_;
  Clients clients_;
  // Hot, where a server is given them.
  CallSettings calls_;
  Admission::Settings admission_settings_;
  FakeSignerService service_;
  const KeyId key_id_ = service_.AddKey(7);
  // From here on, once the server has started.
  std::optional<Admission> admission_;
  std::optional<AdmissionFilter> chain_;
  std::string address_;
  std::unique_ptr<Server> server_;  // last: it is destroyed before what it uses
};

}  // namespace bulla
