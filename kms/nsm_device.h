#pragma once

// The real Nitro Secure Module, through the Linux driver's /dev/nsm.

#include <memory>
#include <string>

#include "base/fd.h"
#include "kms/nsm.h"

namespace bulla {

// Thread-safe: the kernel takes one request at a time.
class NsmDevice final : public Nsm {
 public:
  // FAILED_PRECONDITION where there is no such device: not an enclave.
  static absl::StatusOr<std::unique_ptr<NsmDevice>> Open(const std::string& path = "/dev/nsm");

  std::string_view platform() const override { return "nitro"; }

 private:
  explicit NsmDevice(UniqueFd fd) : fd_(std::move(fd)) {}
  absl::StatusOr<Bytes> Exchange(ByteSpan request) override;

  const UniqueFd fd_;
};

}  // namespace bulla
