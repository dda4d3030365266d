#include "cli/status_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <string_view>

namespace bulla {
namespace {

// "warming up": connected, and the data keys in use are being opened there.
std::string_view StateOf(const EnclaveStatusReply& enclave) {
  if (!enclave.connected) return "NOT CONNECTED";
  if (enclave.ejected) return "EJECTED";
  return enclave.available ? "available" : "warming up";
}

std::string FormatShare(std::optional<double> share) {
  return share ? fmt::format("{:.1f} %", *share * 100) : "unknown";
}

using Counts = std::map<std::string, std::uint64_t>;

// "2 access_denied, 1 key_disabled"
std::string FormatCounts(const Counts& counts) {
  std::string text;
  for (const auto& [name, count] : counts) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, Plain(name));
  }
  return text;
}

// What is known here has its sentence, what a later gateway reports besides its name.
std::string FormatReport(Counts report) {
  const auto take = [&report](const char* name) {
    const auto node = report.extract(name);
    return node ? node.mapped() : 0;
  };
  const auto take_bytes = [&take](const char* name) { return FormatBytes(take(name)); };
  std::string text = fmt::format(
      "  keys        {} warm, {} cool, {} invalid; data keys open: {}\n"
      "  memory      {} of {} for keys; {} of {} locked, for plain keys\n"
      "  rehydrated  {} keys, {} of them ahead of time; {} failed\n"
      "  signed      {} digests; keys made: {}; refused because a TTL was over: {}\n"
      "  waiting     {} jobs for a worker, {} signatures for their key\n",
      take("keysWarm"), take("keysCool"), take("keysInvalid"), take("deksOpen"),
      take_bytes("keyMemoryBytes"), take_bytes("keyMemoryBudgetBytes"), take_bytes("lockedBytes"),
      take_bytes("lockedBudgetBytes"), take("rehydrations"), take("refreshes"),
      take("rehydrationsFailed"), take("signatures"), take("keysCreated"),
      take("hardExpiredRejections"), take("queueDepth"), take("singleflightWaiters"));
  if (!report.empty()) text += fmt::format("  besides     {}\n", FormatCounts(report));
  return text;
}

std::string FormatEnclave(const EnclaveStatusReply& enclave) {
  std::string text = fmt::format("\nenclave {}: {}\n", Plain(enclave.address), StateOf(enclave));
  if (!enclave.boot_id.empty()) {
    text += fmt::format("  boot        {} ({})\n", Plain(enclave.boot_id), Plain(enclave.platform));
  }
  text +=
      fmt::format("  weight      {}{}; requests for keys that are there: {}\n", enclave.weight,
                  enclave.weight == 0 ? " (drained)" : "", FormatShare(enclave.sticky_hit_rate));
  text += fmt::format(
      "  connection  {} streams, {} requests in flight; streams reset: {}, connected again: {}\n",
      enclave.streams_open, enclave.in_flight, enclave.stream_resets, enclave.reconnects);
  if (enclave.report) text += FormatReport(*enclave.report);
  if (!enclave.unlocks_refused.empty()) {
    text += fmt::format("  KMS REFUSES  to open data keys: {}\n",
                        FormatCounts(enclave.unlocks_refused));
  }
  if (!enclave.sealing_refused.empty()) {
    text += fmt::format("  KMS REFUSES  a data key to seal new keys under: {}\n",
                        Plain(enclave.sealing_refused));
  }
  if (!enclave.policy_refused.empty()) {
    text += fmt::format("  KEY POLICY REFUSED  {}\n", Plain(enclave.policy_refused));
  }
  if (!enclave.last_error.empty()) {
    text += fmt::format("  last error  {}\n", Plain(enclave.last_error));
  }
  return text;
}

}  // namespace

std::string Plain(std::string text) {
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return text;
}

std::string FormatStatus(const StatusReply& status) {
  std::string text;
  if (!status.version.empty()) {
    text += Plain(fmt::format("gateway {}, commit {}", status.version, status.commit)) + "\n";
  }
  text += fmt::format("unlocks pending: {}, {} of them running; done: {}, failed: {}\n",
                      status.unlocks_pending, status.unlocks_running, status.unlocks_done,
                      status.unlocks_failed);
  if (!status.store_unwritable.empty()) {
    text += fmt::format("THE KEY STORE CANNOT BE WRITTEN, no key is made: {}\n",
                        Plain(status.store_unwritable));
  }
  if (!status.config_refused.empty()) {
    text += fmt::format("CONFIGURATION REFUSED, the one before is kept: {}\n",
                        Plain(status.config_refused));
  }
  if (!status.config_needs_restart.empty()) {
    text += fmt::format("configuration that needs a restart: {}\n",
                        Plain(fmt::format("{}", fmt::join(status.config_needs_restart, ", "))));
  }
  for (const EnclaveStatusReply& enclave : status.enclaves) text += FormatEnclave(enclave);
  return text;
}

std::string FormatEnclaves(const StatusReply& status) {
  std::string text;
  for (const EnclaveStatusReply& enclave : status.enclaves) {
    text += fmt::format("{:<13}  weight {:<4}  {:>2} streams  {:>5} in flight  {}\n",
                        StateOf(enclave), enclave.weight, enclave.streams_open, enclave.in_flight,
                        Plain(enclave.address));
  }
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
