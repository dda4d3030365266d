#include "cli/status_text.h"

#include <fmt/format.h>
#include <string_view>

namespace bulla {
namespace {

// What came over the network, and from an enclave before, does not move the terminal's cursor.
std::string Plain(std::string text) {
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return text;
}

std::string FormatCounters(const EnclaveStatusReply& enclave) {
  return fmt::format(
             "  keys        {} warm, {} cool, {} invalid; data keys open: {}\n"
             "  memory      {} of {} for keys; {} of {} locked, for plain keys\n",
             enclave.keys_warm, enclave.keys_cool, enclave.keys_invalid, enclave.deks_open,
             FormatBytes(enclave.key_memory_bytes), FormatBytes(enclave.key_memory_budget_bytes),
             FormatBytes(enclave.locked_bytes), FormatBytes(enclave.locked_budget_bytes)) +
         fmt::format(
             "  rehydrated  {} keys, {} of them ahead of time; {} failed\n"
             "  signed      {} digests; keys made: {}; refused because a TTL was over: {}\n"
             "  waiting     {} jobs for a worker, {} signatures for their key\n",
             enclave.rehydrations, enclave.refreshes, enclave.rehydrations_failed,
             enclave.signatures, enclave.keys_created, enclave.hard_expired_rejections,
             enclave.queue_depth, enclave.singleflight_waiters);
}

std::string FormatEnclave(const EnclaveStatusReply& enclave) {
  std::string text = fmt::format("\nenclave {}: {}\n", Plain(enclave.address),
                                 enclave.ready ? "ready" : "NOT READY");
  if (!enclave.boot_id.empty()) {
    text += fmt::format("  boot        {} ({})\n", Plain(enclave.boot_id), Plain(enclave.platform));
  }
  text += fmt::format("  connection  {} streams, {} requests in flight; connected again: {}\n",
                      enclave.streams_open, enclave.in_flight, enclave.reconnects);
  if (enclave.reported) text += FormatCounters(enclave);
  if (!enclave.policy_refused.empty()) {
    text += fmt::format("  KEY POLICY REFUSED  {}\n", Plain(enclave.policy_refused));
  }
  if (!enclave.last_error.empty()) {
    text += fmt::format("  last error  {}\n", Plain(enclave.last_error));
  }
  return text;
}

}  // namespace

std::string FormatStatus(const StatusReply& status) {
  std::string text = fmt::format("unlocks pending: {}\n", status.unlocks_pending);
  for (const EnclaveStatusReply& enclave : status.enclaves) text += FormatEnclave(enclave);
  return text;
}

std::string FormatBytes(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double amount = static_cast<double>(bytes) / 1024;
  std::string_view units = "KMGTPE";
  while (amount >= 1024 && units.size() > 1) {
    amount /= 1024;
    units.remove_prefix(1);
  }
  return fmt::format("{:.1f} {}iB", amount, units.front());
}

}  // namespace bulla
