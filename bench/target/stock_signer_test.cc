#include "bench/target/stock_signer.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bulla {
namespace {

using testing::HasSubstr;

TEST(StockSigner, SignsWithTheInstalledFileAndSaysWhichItIs) {
  absl::StatusOr<StockSigner> signer = StockSigner::Load();
  ASSERT_TRUE(signer.ok()) << signer.status();
  EXPECT_THAT(signer->file(), HasSubstr("/libsecp256k1.so.1."));
  EXPECT_GT(signer->MeasureRound(), Duration::zero());
}

TEST(StockSigner, AMissingFileIsNamedWithThePackageThatHasIt) {
  absl::Status status = StockSigner::Load("/nowhere/libsecp256k1.so.1").status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere/libsecp256k1.so.1"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("apt-get install libsecp256k1-1"));
}

TEST(StockSigner, AFileThatIsNoSuchLibraryIsRefused) {
  EXPECT_TRUE(absl::IsFailedPrecondition(StockSigner::Load("/proc/self/exe").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(StockSigner::Load("/etc/passwd").status()));
}

}  // namespace
}  // namespace bulla
