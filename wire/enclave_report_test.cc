#include "wire/enclave_report.h"

#include <gtest/gtest.h>
#include <limits>
#include <set>

#include <google/protobuf/unknown_field_set.h>

#include "wire/codec.h"
#include "wire/enclave.pb.h"

namespace bulla {
namespace {

EnclaveReport WithHistogram(std::vector<double> bounds, std::vector<std::uint64_t> counts,
                            double sum = 1) {
  EnclaveReport report;
  report.histogram("rehydrate_latency_ms") = {std::move(bounds), std::move(counts), sum};
  return report;
}

// As it comes out at the other end.
EnclaveReport Sent(const EnclaveReport& report) {
  wire::v1::ProbeReply reply;
  EncodeReport(report, reply);
  wire::v1::ProbeReply arrived;
  EXPECT_TRUE(arrived.ParseFromString(reply.SerializeAsString()));
  return DecodeReport(arrived);
}

bool HasHistogram(const EnclaveReport& report) {
  return Sent(report).histogram("rehydrate_latency_ms").has_value();
}

TEST(EnclaveMetrics, NamesAndFieldsAreTheirsAloneAndLeftToThemInTheProtocol) {
  std::set<std::string_view> names;
  std::set<int> fields;
  const auto add = [&](std::string_view name, int field) {
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_TRUE(fields.insert(field).second) << name;
    EXPECT_LE(field, kMetricFieldMax) << name;
    EXPECT_TRUE(wire::v1::ProbeReply::descriptor()->IsReservedNumber(field)) << name;
  };
  for (const EnclaveMetric& row : kEnclaveMetrics) add(row.name, row.field);
  for (const EnclaveHistogram& row : kEnclaveHistograms) add(row.name, row.field);
}

TEST(EnclaveMetrics, RowsOfOneFamilyFollowEachOtherAndDifferInTheLabelAlone) {
  std::set<std::string_view> done;
  for (std::size_t i = 1; i < kEnclaveMetrics.size(); ++i) {
    const EnclaveMetric& before = kEnclaveMetrics[i - 1];
    const EnclaveMetric& row = kEnclaveMetrics[i];
    if (*row.family == '\0') continue;
    if (std::string_view(row.family) != before.family) {
      EXPECT_TRUE(done.insert(before.family).second) << before.family;
      continue;
    }
    EXPECT_STREQ(row.help, before.help);
    EXPECT_STREQ(row.label, before.label);
    EXPECT_STRNE(row.label_value, before.label_value);
    EXPECT_EQ(row.kind, before.kind);
  }
}

TEST(EnclaveReport, EachNumberAndHistogramArrivesInItsPlace) {
  EnclaveReport report;
  std::uint64_t value = std::numeric_limits<std::uint64_t>::max();
  for (std::optional<std::uint64_t>& number : report.numbers) number = value--;
  report.number("jobs") = 0;
  for (auto& histogram : report.histograms) {
    histogram = {.bounds = {0.5, 2}, .counts = {value--, 0, 2}, .sum = 3.5};
  }
  for (auto& histogram : report.histograms) histogram->counts[0] %= 1000;
  EXPECT_EQ(Sent(report), report);
}

// Made by protoc when every number was a field of enclave.proto: each is its field's number but
// one.
TEST(EnclaveReport, BytesOfAnEnclaveOfBeforeTheTableAreRead) {
  constexpr std::string_view kHex =
      "0a106120626f6f74206f6620313620422e2e10021803200428053006380740084809500a580b600c680d700e"
      "780f8001808080808020880111900112980113a201200a10000000000000e03f000000000000004012031400"
      "01190000000000001d40aa0110612044454b206f6620313620422e2e2eaa0110616e6f74686572206f662031"
      "3620422eb201200a10000000000000e03f00000000000000401203160001190000000000001d40ba01200a10"
      "000000000000e03f00000000000000401203170001190000000000001d40c00118c80119d0011ad8011be001"
      "1ce8011df0011ef80101";
  Bytes bytes(kHex.size() / 2);
  ASSERT_TRUE(HexDecode(kHex, bytes));
  wire::v1::ProbeReply reply;
  ASSERT_TRUE(reply.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  EXPECT_EQ(DecodeDeksToRenew(reply).size(), 2u);
  EXPECT_TRUE(reply.sealing_dek_wanted());
  const EnclaveReport report = DecodeReport(reply);
  EXPECT_EQ(report.number("key_memory_bytes"), std::uint64_t{1} << 40);
  for (std::size_t i = 0; i < kEnclaveMetrics.size(); ++i) {
    const EnclaveMetric& row = kEnclaveMetrics[i];
    if (row.field >= kFieldsAddedLater || row.name == "key_memory_bytes") continue;
    EXPECT_EQ(report.numbers[i], static_cast<std::uint64_t>(row.field)) << row.name;
  }
  for (std::size_t i = 0; i < kEnclaveHistograms.size(); ++i) {
    const auto field = static_cast<std::uint64_t>(kEnclaveHistograms[i].field);
    EXPECT_EQ(report.histograms[i],
              (EnclaveReport::Histogram{.bounds = {0.5, 2}, .counts = {field, 0, 1}, .sum = 7.25}))
        << kEnclaveHistograms[i].name;
  }
}

TEST(EnclaveReport, WhatIsOfTheProtocolFromItsBeginningIsZeroWhereItIsNotSent) {
  const EnclaveReport report = DecodeReport({});
  EXPECT_EQ(report.number("keys_cool"), 0u);
  EXPECT_FALSE(report.histogram("sign_cpu_us").has_value());
}

TEST(EnclaveReport, WhatALaterEnclaveSaysBesidesIsPassedOver) {
  EnclaveReport report;
  report.number("keys_invalid") = 5;
  wire::v1::ProbeReply reply;
  auto& fields = *reply.GetReflection()->MutableUnknownFields(&reply);
  fields.AddVarint(kMetricFieldMax, 9);
  fields.AddLengthDelimited(kMetricFieldMax - 1)->assign("later");
  fields.AddFixed32(2, 9);       // signatures, in another type
  fields.AddLengthDelimited(3);  // keys_created, likewise
  fields.AddVarint(20, 9);       // rehydrate_latency_ms, likewise
  EncodeReport(report, reply);
  EXPECT_EQ(DecodeReport(reply), Sent(report));
}

TEST(EnclaveReport, OfMoreFieldsThanAReportCanHaveTheRestIsNotLookedAt) {
  wire::v1::ProbeReply reply;
  auto& fields = *reply.GetReflection()->MutableUnknownFields(&reply);
  for (int i = 0; i < kMetricFieldMax; ++i) fields.AddVarint(2, 1);
  fields.AddVarint(2, 7);
  EXPECT_EQ(DecodeReport(reply).number("signatures"), 1u);
}

TEST(EnclaveReport, WorkersAreBusyForAShareOfTheTimeBetweenTwoReports) {
  const auto report_of = [](std::uint64_t busy_us, std::uint64_t uptime_us, std::uint64_t workers) {
    EnclaveReport report;
    report.number("worker_busy_us") = busy_us;
    report.number("uptime_us") = uptime_us;
    report.number("workers") = workers;
    return report;
  };
  const EnclaveReport before = report_of(1000, 5000, 2);
  const EnclaveReport after = report_of(1500, 6000, 2);
  EXPECT_DOUBLE_EQ(WorkerBusyRatio(before, after), 0.25);
  EXPECT_EQ(WorkerBusyRatio(after, before), 0) << "another enclave since";
  EXPECT_EQ(WorkerBusyRatio(before, before), 0);
  EXPECT_EQ(WorkerBusyRatio(before, report_of(100'000, 6000, 2)), 1);
  EXPECT_EQ(WorkerBusyRatio(before, report_of(100'000, 6000, 0)), 0);
  EXPECT_EQ(WorkerBusyRatio(before, EnclaveReport{}), 0) << "it does not say";
}

TEST(EnclaveReport, AMalformedHistogramIsLeftOutAndTheRestIsTaken) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(HasHistogram({})) << "not there at all";
  EXPECT_FALSE(HasHistogram(WithHistogram({}, {1}))) << "without bounds";
  EXPECT_FALSE(HasHistogram(WithHistogram({1, 2}, {1, 2}))) << "a count is missing";
  EXPECT_FALSE(HasHistogram(WithHistogram({1, 2}, {1, 2, 3, 4}))) << "a count too many";
  EXPECT_FALSE(HasHistogram(WithHistogram({2, 1}, {1, 2, 3}))) << "bounds descend";
  EXPECT_FALSE(HasHistogram(WithHistogram({1, 1}, {1, 2, 3}))) << "two bounds are one";
  EXPECT_FALSE(HasHistogram(WithHistogram({1, kInfinity}, {1, 2, 3})));
  EXPECT_FALSE(HasHistogram(WithHistogram({kNan, 1}, {1, 2, 3})));
  EXPECT_FALSE(HasHistogram(WithHistogram({1}, {1, 2}, kNan)));
  EXPECT_FALSE(HasHistogram(WithHistogram({1}, {1, 2}, -1)));
  EXPECT_FALSE(HasHistogram(WithHistogram({1}, {1, std::numeric_limits<std::uint64_t>::max()})));

  EnclaveReport report = WithHistogram({2, 1}, {1, 2, 3});
  report.number("keys_invalid") = 5;
  EXPECT_EQ(Sent(report).number("keys_invalid"), 5u);
}

TEST(EnclaveReport, AHistogramHasAtMost64Bounds) {
  std::vector<double> bounds;
  for (int i = 0; i < 64; ++i) bounds.push_back(i);
  std::vector<std::uint64_t> counts(65, 1);
  EXPECT_TRUE(HasHistogram(WithHistogram(bounds, counts)));
  bounds.push_back(64);
  counts.push_back(1);
  EXPECT_FALSE(HasHistogram(WithHistogram(bounds, counts)));
}

TEST(EnclaveReport, DeksToRenewAreTakenUpToTheLimitAndOnlyOfTheRightLength) {
  wire::v1::ProbeReply reply;
  reply.add_deks_to_renew("");
  reply.add_deks_to_renew(std::string(DekId::kBytes - 1, 'a'));
  reply.add_deks_to_renew(std::string(DekId::kBytes + 1, 'b'));
  EXPECT_TRUE(DecodeDeksToRenew(reply).empty());
  for (std::size_t i = 0; i < kDeksToRenewMax + 1; ++i) {
    reply.add_deks_to_renew(std::string(DekId::kBytes, static_cast<char>(i)));
  }
  std::vector<DekId> deks = DecodeDeksToRenew(reply);
  ASSERT_EQ(deks.size(), kDeksToRenewMax);
  EXPECT_EQ(deks[5].bytes[0], 5);
}

TEST(EnclaveReport, ItsTextsAreCutAndHarmless) {
  EXPECT_EQ(ShownText("plain_key.ttl_soft: got 20m"), "plain_key.ttl_soft: got 20m");
  EXPECT_EQ(ShownText("a\x1b[31m\n\xff"), "a?[31m??");
  EXPECT_EQ(ShownText(std::string(301, 'x')), std::string(300, 'x') + "...");
}

}  // namespace
}  // namespace bulla
