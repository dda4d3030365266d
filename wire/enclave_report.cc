#include "wire/enclave_report.h"

#include <algorithm>
#include <cmath>

#include <google/protobuf/unknown_field_set.h>

#include "wire/codec.h"
#include "wire/enclave.pb.h"

namespace bulla {
namespace {

using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

// The longest message of ours, about a setting, has 120.
constexpr std::size_t kShownTextMax = 300;
// A double holds whole numbers up to here, and no enclave lives to count further.
constexpr std::uint64_t kCountMax = std::uint64_t{1} << 53;

bool IsWellFormed(const wire::v1::Histogram& histogram) {
  const auto& bounds = histogram.bounds();
  const auto& counts = histogram.counts();
  if (bounds.empty() || counts.size() != bounds.size() + 1) return false;
  if (bounds.size() > static_cast<int>(EnclaveReport::kHistogramBoundsMax)) return false;
  if (!std::all_of(bounds.begin(), bounds.end(), [](double b) { return std::isfinite(b); })) {
    return false;
  }
  bool ascending = std::adjacent_find(bounds.begin(), bounds.end(),
                                      [](double a, double b) { return a >= b; }) == bounds.end();
  // Sixty-five of them cannot overflow when they are added.
  bool countable =
      std::all_of(counts.begin(), counts.end(), [](std::uint64_t c) { return c <= kCountMax; });
  return ascending && countable && std::isfinite(histogram.sum()) && histogram.sum() >= 0;
}

std::optional<EnclaveReport::Histogram> DecodeHistogram(const std::string& bytes) {
  wire::v1::Histogram histogram;
  if (!histogram.ParseFromString(bytes) || !IsWellFormed(histogram)) return std::nullopt;
  return EnclaveReport::Histogram{.bounds = {histogram.bounds().begin(), histogram.bounds().end()},
                                  .counts = {histogram.counts().begin(), histogram.counts().end()},
                                  .sum = histogram.sum()};
}

// The row whose field this is, or their number.
std::size_t RowOfField(const auto& rows, int field) {
  return static_cast<std::size_t>(
      std::ranges::find(rows, field, [](const auto& row) { return row.field; }) - rows.begin());
}

// Of a field that is there twice the last counts, as everywhere in protobuf.
void Take(const UnknownField& field, EnclaveReport& report) {
  if (field.type() == UnknownField::TYPE_VARINT) {
    const std::size_t row = RowOfField(kEnclaveMetrics, field.number());
    if (row < report.numbers.size()) report.numbers[row] = field.varint();
  } else if (field.type() == UnknownField::TYPE_LENGTH_DELIMITED) {
    const std::size_t row = RowOfField(kEnclaveHistograms, field.number());
    if (row < report.histograms.size()) {
      report.histograms[row] = DecodeHistogram(field.length_delimited());
    }
  }
}

}  // namespace

void EncodeReport(const EnclaveReport& report, wire::v1::ProbeReply& reply) {
  UnknownFieldSet& fields = *reply.GetReflection()->MutableUnknownFields(&reply);
  for (std::size_t i = 0; i < report.numbers.size(); ++i) {
    if (report.numbers[i]) fields.AddVarint(kEnclaveMetrics[i].field, *report.numbers[i]);
  }
  for (std::size_t i = 0; i < report.histograms.size(); ++i) {
    if (!report.histograms[i]) continue;
    wire::v1::Histogram histogram;
    for (double bound : report.histograms[i]->bounds) histogram.add_bounds(bound);
    for (std::uint64_t count : report.histograms[i]->counts) histogram.add_counts(count);
    histogram.set_sum(report.histograms[i]->sum);
    histogram.SerializeToString(fields.AddLengthDelimited(kEnclaveHistograms[i].field));
  }
}

EnclaveReport DecodeReport(const wire::v1::ProbeReply& reply) {
  EnclaveReport report;
  for (std::size_t i = 0; i < report.numbers.size(); ++i) {
    if (kEnclaveMetrics[i].field < kFieldsAddedLater) report.numbers[i] = 0;
  }
  const UnknownFieldSet& fields = reply.GetReflection()->GetUnknownFields(reply);
  for (int i = 0; i < std::min(fields.field_count(), kMetricFieldMax); ++i) {
    Take(fields.field(i), report);
  }
  return report;
}

double WorkerBusyRatio(const EnclaveReport& before, const EnclaveReport& after) {
  const auto grown = [&](EnclaveMetricId id) -> std::optional<double> {
    const std::uint64_t was = before.number(id).value_or(0);
    const std::uint64_t is = after.number(id).value_or(0);
    return is < was ? std::nullopt : std::optional(static_cast<double>(is - was));
  };
  const std::optional<double> busy_us = grown("worker_busy_us");
  const double elapsed_us = grown("uptime_us").value_or(0);
  const auto workers = static_cast<double>(after.number("workers").value_or(0));
  if (!busy_us || elapsed_us == 0 || workers == 0) return 0;
  return std::min(1.0, *busy_us / (elapsed_us * workers));
}

std::vector<DekId> DecodeDeksToRenew(const wire::v1::ProbeReply& reply) {
  std::vector<DekId> deks;
  for (const std::string& bytes : reply.deks_to_renew()) {
    if (deks.size() == kDeksToRenewMax) break;
    if (bytes.size() == DekId::kBytes) deks.push_back(DekId::FromBytes(AsBytes(bytes)));
  }
  return deks;
}

std::string ShownText(std::string_view text) {
  std::string shown(text.substr(0, kShownTextMax));
  for (char& c : shown) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  if (text.size() > shown.size()) shown += "...";
  return shown;
}

}  // namespace bulla
