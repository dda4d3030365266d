// Every body, as each kind of change: no crash, and what is taken keeps its limits.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "gateway/admin/enclave_change.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using Kind = bulla::EnclaveChange::Kind;
  std::string_view body(reinterpret_cast<const char*>(data), size);
  for (Kind kind : {Kind::kAdd, Kind::kSetWeight, Kind::kRemove}) {
    absl::StatusOr<bulla::EnclaveChange> change = bulla::ParseEnclaveChange(kind, body);
    if (!change.ok()) {
      BULLA_CHECK(!change.status().message().empty(), "a refusal says why");
      BULLA_CHECK(change.status().message().size() < 400, "a refusal is short");
      continue;
    }
    BULLA_CHECK(change->kind == kind, "the kind is what was asked for");
    BULLA_CHECK(change->weight <= bulla::HashRing::kWeightMax, "a weight is bounded");
    BULLA_CHECK(bulla::Address::Parse(change->address.ToString()).ok(), "an address is one");
  }
  return 0;
}
