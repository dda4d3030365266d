#include "gateway/link/enclave_report.h"

#include <gtest/gtest.h>
#include <limits>

#include "wire/codec.h"
#include "wire/enclave.pb.h"

namespace bulla {
namespace {

wire::v1::ProbeReply WithHistogram(std::vector<double> bounds, std::vector<std::uint64_t> counts,
                                   double sum = 1) {
  wire::v1::ProbeReply reply;
  wire::v1::Histogram& histogram = *reply.mutable_rehydrate_latency_ms();
  for (double bound : bounds) histogram.add_bounds(bound);
  for (std::uint64_t count : counts) histogram.add_counts(count);
  histogram.set_sum(sum);
  return reply;
}

bool HasHistogram(const wire::v1::ProbeReply& reply) {
  return DecodeReport(reply).rehydrate_latency_ms.has_value();
}

TEST(EnclaveReport, AHistogramOfTheRightShapeIsTaken) {
  EnclaveReport report = DecodeReport(WithHistogram({0.1, 0.2}, {7, 0, 2}, 3.5));
  ASSERT_TRUE(report.rehydrate_latency_ms.has_value());
  EXPECT_EQ(report.rehydrate_latency_ms->bounds, (std::vector<double>{0.1, 0.2}));
  EXPECT_EQ(report.rehydrate_latency_ms->counts, (std::vector<std::uint64_t>{7, 0, 2}));
  EXPECT_EQ(report.rehydrate_latency_ms->sum, 3.5);
}

TEST(EnclaveReport, WorkersAreBusyForAShareOfTheTimeBetweenTwoReports) {
  const EnclaveReport before{.worker_busy_us = 1000, .uptime_us = 5000, .workers = 2};
  EnclaveReport after{.worker_busy_us = 1500, .uptime_us = 6000, .workers = 2};
  EXPECT_DOUBLE_EQ(WorkerBusyRatio(before, after), 0.25);
  EXPECT_EQ(WorkerBusyRatio(after, before), 0) << "another enclave since";
  EXPECT_EQ(WorkerBusyRatio(before, before), 0);
  after.worker_busy_us = 100'000;
  EXPECT_EQ(WorkerBusyRatio(before, after), 1);
  after.workers = 0;
  EXPECT_EQ(WorkerBusyRatio(before, after), 0);
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

  wire::v1::ProbeReply reply = WithHistogram({2, 1}, {1, 2, 3});
  reply.set_keys_invalid(5);
  EXPECT_EQ(DecodeReport(reply).keys_invalid, 5u);
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
