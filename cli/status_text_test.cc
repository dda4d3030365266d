#include "cli/status_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bulla {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(StatusText, BytesAreShownInTheUnitThatFits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(std::uint64_t{2} << 30), "2.0 GiB");
  EXPECT_EQ(FormatBytes(~std::uint64_t{0}), "16.0 EiB");
}

TEST(StatusText, AnEnclavesKeysAndMemoryAreShown) {
  EnclaveStatusReply enclave{.address = "unix:/e", .ready = true, .reported = true};
  enclave.keys_warm = 11;
  enclave.keys_cool = 22;
  enclave.keys_invalid = 33;
  enclave.deks_open = 44;
  enclave.key_memory_bytes = 3 << 20;
  enclave.key_memory_budget_bytes = std::uint64_t{2} << 30;
  enclave.locked_bytes = 2048;
  enclave.locked_budget_bytes = 1 << 20;
  std::string text = FormatStatus({.unlocks_pending = 5, .enclaves = {enclave}});
  for (const char* part :
       {"unlocks pending: 5\n", "enclave unix:/e: ready\n", "11 warm, 22 cool, 33 invalid",
        "data keys open: 44", "3.0 MiB of 2.0 GiB", "2.0 KiB of 1.0 MiB"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("REFUSED")));
  EXPECT_THAT(text, Not(HasSubstr("last error")));
}

TEST(StatusText, AnEnclaveThatWasNeverReachedShowsWhyAndNoCounts) {
  std::string text =
      FormatStatus({.enclaves = {{.address = "unix:/e", .last_error = "connection refused"}}});
  EXPECT_THAT(text, HasSubstr("enclave unix:/e: NOT READY\n"));
  EXPECT_THAT(text, HasSubstr("connection refused"));
  EXPECT_THAT(text, Not(HasSubstr("warm")));
}

TEST(StatusText, ARefusedKeyPolicyIsShownAndMovesNoCursor) {
  std::string text = FormatStatus(
      {.enclaves = {{.address = "e", .policy_refused = "dek.ttl_hard\x1b[2J: got 1h"}}});
  EXPECT_THAT(text, HasSubstr("REFUSED  dek.ttl_hard?[2J: got 1h\n"));
}

}  // namespace
}  // namespace bulla
