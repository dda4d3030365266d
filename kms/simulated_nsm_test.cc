#include "kms/simulated_nsm.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <sys/stat.h>
#include <thread>
#include <vector>

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

class ManualClock final : public Clock {
 public:
  MonotonicTime Now() const override { return {}; }
  WallTime WallNow() const override { return now; }
  WallTime now{seconds(1'800'000'000)};
};

class SimulatedNsmTest : public ::testing::Test {
 protected:
  SimulatedNsmTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "bulla-nsm-test-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    root_ = folder_ + "/root";
    EXPECT_TRUE(MakeSimulatedRoot(root_, clock_.now).ok());
    nsm_ = *SimulatedNsm::Create(root_, SimulatedPcrs("image"), clock_);
    anchor_ = *TrustAnchor::FromPem(RootPem());
  }
  ~SimulatedNsmTest() override { std::filesystem::remove_all(folder_); }

  std::string RootPem() const {
    std::ifstream file(root_ + "/root.pem");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  ManualClock clock_;
  std::string folder_;
  std::string root_;
  std::unique_ptr<SimulatedNsm> nsm_;
  TrustAnchor anchor_;
};

TEST_F(SimulatedNsmTest, ItsDocumentsVerifyAndCarryWhatWasAsked) {
  absl::StatusOr<Bytes> bytes = nsm_->Attest(Bytes{1}, Bytes(1024, 2), Bytes{3});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  auto document = VerifyAttestationDocument(*bytes, anchor_, clock_.now);
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_EQ(document->user_data, Bytes{1});
  EXPECT_EQ(document->nonce, Bytes(1024, 2));
  EXPECT_EQ(document->public_key, Bytes{3});
  EXPECT_EQ(document->issued_at, clock_.now);
  EXPECT_EQ(document->pcrs.size(), 16u) << "the locked ones";
  EXPECT_FALSE(document->IsDebug());
  EXPECT_EQ(document->pcrs.at(2), nsm_->DescribePcr(2)->value);
}

TEST_F(SimulatedNsmTest, ItsDocumentsHaveTheFormOfTodaysRealOnes) {
  Bytes bytes = nsm_->Attest({}, {}, {}).value();
  EXPECT_EQ(HexEncode(ByteSpan(bytes).first(8)), "8444a1013822a059") << "untagged, ES384";
  EXPECT_EQ(bytes[10], 0xbf) << "indefinite outer map";
}

TEST_F(SimulatedNsmTest, AnotherRootDoesNotBelieveIt) {
  Bytes bytes = nsm_->Attest({}, {}, {}).value();
  for (const TrustAnchor& anchor : {TrustAnchor::AwsNitro(), TrustAnchor{}}) {
    absl::Status status = VerifyAttestationDocument(bytes, anchor, clock_.now).status();
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  }
}

TEST_F(SimulatedNsmTest, DocumentsAreBelievedForThreeHours) {
  Bytes bytes = nsm_->Attest({}, {}, {}).value();
  WallTime issued = clock_.now;
  auto verify = [&](WallTime at) { return VerifyAttestationDocument(bytes, anchor_, at).ok(); };
  EXPECT_TRUE(verify(issued + hours(3) - seconds(1)));
  EXPECT_FALSE(verify(issued + hours(3) + seconds(1)));
  EXPECT_TRUE(verify(issued - seconds(3)));
  EXPECT_TRUE(verify(issued - seconds(63))) << "a verifier that is a minute slow";
  EXPECT_FALSE(verify(issued - seconds(65)));
}

TEST_F(SimulatedNsmTest, TheLeafIsMadeAnewBeforeItExpires) {
  auto leaf = [&] {
    return VerifyAttestationDocument(nsm_->Attest({}, {}, {}).value(), anchor_, clock_.now)
        .value()
        .certificate;
  };
  Bytes first = leaf();
  clock_.now += hours(2) + minutes(44);
  EXPECT_EQ(leaf(), first);
  clock_.now += minutes(2);
  EXPECT_NE(leaf(), first);
  clock_.now += hours(24 * 365);
  leaf();  // still verifies
}

TEST_F(SimulatedNsmTest, EveryChangedBitIsNoticed) {
  Bytes bytes = nsm_->Attest({}, {}, {}).value();
  for (std::size_t at = 0; at < bytes.size(); at += 13) {
    Bytes changed = bytes;
    changed[at] ^= static_cast<std::uint8_t>(1u << (at % 8));
    EXPECT_FALSE(VerifyAttestationDocument(changed, anchor_, clock_.now).ok()) << at;
  }
}

TEST_F(SimulatedNsmTest, RegistersAreThoseOfTheLabel) {
  for (int index = 0; index < kPcrCount; ++index) {
    PcrState state = nsm_->DescribePcr(index).value();
    EXPECT_EQ(state.locked, index < 16);
    EXPECT_EQ(state.value == Pcr{}, index > 2);
  }
  EXPECT_NE(SimulatedPcrs("image")[0], SimulatedPcrs("other image")[0]);
  EXPECT_NE(SimulatedPcrs("image")[0], SimulatedPcrs("image")[1]);
}

TEST_F(SimulatedNsmTest, ADebugEnclaveIsToldApart) {
  auto debug = *SimulatedNsm::Create(root_, SimulatedPcrs(""), clock_);
  auto document = VerifyAttestationDocument(debug->Attest({}, {}, {}).value(), anchor_, clock_.now);
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_TRUE(document->IsDebug());
  EXPECT_FALSE(MeasurementPolicy().Check(*document).ok());
  EXPECT_TRUE((MeasurementPolicy{{}, true}).Check(*document).ok());
}

TEST_F(SimulatedNsmTest, ThePolicyComparesEveryRegisterItNames) {
  auto document =
      VerifyAttestationDocument(nsm_->Attest({}, {}, {}).value(), anchor_, clock_.now).value();
  MeasurementPolicy policy;
  policy.expected = {{0, SimulatedPcrs("image")[0]}, {1, SimulatedPcrs("image")[1]}};
  EXPECT_TRUE(policy.Check(document).ok());
  policy.expected[1][47] ^= 1;
  EXPECT_TRUE(absl::IsPermissionDenied(policy.Check(document)));
  policy.expected = {{16, Pcr{}}};
  EXPECT_FALSE(policy.Check(document).ok()) << "an unlocked register is not in the document";
}

TEST_F(SimulatedNsmTest, RandomnessIsNew) {
  Bytes first = nsm_->GetRandom().value();
  EXPECT_EQ(first.size(), kNsmRandomBytes);
  EXPECT_NE(first, nsm_->GetRandom().value());
}

TEST_F(SimulatedNsmTest, TooMuchForOneRequestIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(nsm_->Attest(Bytes(4096, 0), {}, {}).status()));
}

TEST_F(SimulatedNsmTest, TheRootIsMadeOnceHoweverManyMakeIt) {
  std::string dir = folder_ + "/shared";
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { EXPECT_TRUE(MakeSimulatedRoot(dir, clock_.now).ok()); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(SimulatedNsm::Create(dir, SimulatedPcrs(""), clock_).ok()) << "key and root match";
  struct stat info {};
  ASSERT_EQ(::stat((dir + "/root.key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  std::string before = RootPem();
  EXPECT_TRUE(MakeSimulatedRoot(root_, clock_.now).ok());
  EXPECT_EQ(RootPem(), before);
}

}  // namespace
}  // namespace bulla
