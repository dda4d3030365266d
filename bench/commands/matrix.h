#pragma once

// The same load on services that are set up differently, side by side: workers, batching, and how
// signatures are checked. Pure: the cells and the report; bench/commands/matrix_command.cc
// measures.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "bench/report/run_description.h"
#include "bench/target/machine.h"
#include "bench/target/service.h"

namespace bulla {

// How one service is set up.
struct MatrixCell {
  int workers = 1;              // signing threads of each enclave
  std::string batching = "on";  // or "off"
  std::string signature_check;  // "recompute", "verify" or "none"
};

// All combinations; the checks vary fastest. Workers are 1, 2, ... `workers_max`.
std::vector<MatrixCell> CellsOf(int workers_max, const std::vector<std::string>& batchings,
                                const std::vector<std::string>& signature_checks);

// `base`, set up as the cell says.
ServiceOptions OptionsOf(const MatrixCell& cell, const ServiceOptions& base);

// What a cell came to. Of the closed loop: how much it does and what that costs. Of the paced run,
// whose rate is the same for all: latencies and crossings.
struct MatrixRow {
  MatrixCell cell;
  std::string failure;  // why it could not be measured; empty: it was
  double closed_rate_per_s = 0;
  double cpu_us = 0;    // per signature, gateway and enclaves
  double stock_us = 0;  // of one call of the stock library's secp256k1_ecdsa_sign
  double paced_cpu_us = 0;
  double p50_ms = 0;
  double p95_ms = 0;
  double p99_ms = 0;
  double lost_percent = 0;
  std::optional<double> queue_depth;
  std::optional<double> crossings;  // per signature

  double cost_ratio() const { return stock_us > 0 ? cpu_us / stock_us : 0; }
};

struct MatrixReport {
  Machine machine;
  std::string commit;
  std::string began_at;  // UTC, ISO 8601
  std::string stock_library;
  RunDescription closed;
  RunDescription paced;
  std::vector<MatrixRow> rows;
};

std::string MatrixHeadline();
std::string MatrixRowText(const MatrixRow& row);
std::string MatrixText(const MatrixReport& report);
std::string MatrixJson(const MatrixReport& report);  // one line, with its end

// "2026-11-22-2130-matrix-0123456789ab": what the files of a report are called, without their ends.
std::string ReportName(WallTime time, std::string_view what, std::string_view commit);
std::string Iso8601(WallTime time);  // to the second

}  // namespace bulla
