#include "cli/status_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bulla {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(StatusText, BytesAreShownInTheUnitThatFits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(std::uint64_t{2} << 30), "2.0 GiB");
  EXPECT_EQ(FormatBytes(~std::uint64_t{0}), "16.0 EiB");
}

TEST(StatusText, AnEnclavesKeysAndMemoryAreShown) {
  EnclaveStatusReply enclave{
      .address = "unix:/e", .connected = true, .available = true, .weight = 100};
  enclave.report = {{"keysWarm", 11},
                    {"keysCool", 22},
                    {"keysInvalid", 33},
                    {"deksOpen", 44},
                    {"keyMemoryBytes", 3 << 20},
                    {"keyMemoryBudgetBytes", std::uint64_t{2} << 30},
                    {"lockedBytes", 2048},
                    {"lockedBudgetBytes", 1 << 20}};
  std::string text = FormatStatus({.unlocks_pending = 5, .enclaves = {enclave}});
  for (const char* part :
       {"unlocks pending: 5, ", "enclave unix:/e: available\n", "11 warm, 22 cool, 33 invalid",
        "data keys open: 44", "3.0 MiB of 2.0 GiB", "2.0 KiB of 1.0 MiB"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("REFUSED")));
  EXPECT_THAT(text, Not(HasSubstr("last error")));
  EXPECT_THAT(text, Not(HasSubstr("besides")));
}

TEST(StatusText, WhatALaterGatewayReportsBesidesIsShownByItsNameAndMovesNoCursor) {
  EnclaveStatusReply enclave{.address = "unix:/e"};
  enclave.report = {{"keysWarm", 11}, {"keysFrozen", 7}, {"later\x1b", 0}};
  EXPECT_THAT(FormatStatus({.enclaves = {enclave}}),
              HasSubstr("  besides     7 keysFrozen, 0 later?\n"));
}

TEST(StatusText, AnEnclaveThatWasNeverReachedShowsWhyAndNoCounts) {
  std::string text =
      FormatStatus({.enclaves = {{.address = "unix:/e", .last_error = "connection refused"}}});
  EXPECT_THAT(text, HasSubstr("enclave unix:/e: NOT CONNECTED\n"));
  EXPECT_THAT(text, HasSubstr("connection refused"));
  EXPECT_THAT(text, Not(HasSubstr("warm")));
}

TEST(StatusText, WhatKmsRefusesIsShownByCause) {
  EnclaveStatusReply enclave{.address = "unix:/e"};
  enclave.unlocks_refused = {{"access_denied", 2}, {"key_disabled\n", 1}};
  enclave.sealing_refused = "key_not_found";
  const std::string text = FormatStatus({.enclaves = {enclave}});
  EXPECT_THAT(text,
              HasSubstr("KMS REFUSES  to open data keys: 2 access_denied, 1 key_disabled?\n"));
  EXPECT_THAT(text, HasSubstr("KMS REFUSES  a data key to seal new keys under: key_not_found\n"));
}

TEST(StatusText, AnEnclavesStateIsNamedByWhetherItIsAvailable) {
  EnclaveStatusReply enclave{.address = "e"};
  const auto state = [&] { return FormatEnclaves({.enclaves = {enclave}}); };
  EXPECT_THAT(state(), StartsWith("NOT CONNECTED  "));
  enclave.connected = true;
  EXPECT_THAT(state(), StartsWith("warming up  "));
  enclave.available = true;
  EXPECT_THAT(state(), StartsWith("available  "));
  enclave.available = false;
  enclave.ejected = true;
  EXPECT_THAT(state(), StartsWith("EJECTED    "));
  enclave.connected = false;
  EXPECT_THAT(state(), StartsWith("NOT CONNECTED  ")) << "gone, whatever was thought of it before";
}

TEST(StatusText, AnEnclavesShareOfTheKeysAndItsStreamsAreShown) {
  EnclaveStatusReply enclave{
      .address = "e\x1b", .connected = true, .weight = 0, .streams_open = 16};
  enclave.in_flight = 12;
  enclave.stream_resets = 7;
  std::string text = FormatStatus({.enclaves = {enclave}});
  EXPECT_THAT(text,
              HasSubstr("weight      0 (drained); requests for keys that are there: unknown"));
  EXPECT_THAT(text, HasSubstr("streams reset: 7, "));
  enclave.sticky_hit_rate = 0.9875;
  enclave.weight = 50;
  EXPECT_THAT(FormatStatus({.enclaves = {enclave}}),
              HasSubstr("weight      50; requests for keys that are there: 98.8 %\n"));
  EXPECT_EQ(FormatEnclaves({.enclaves = {enclave}}),
            "warming up     weight 50    16 streams     12 in flight  e?\n");
}

TEST(StatusText, UnlocksAreShownByHowFarTheyAre) {
  EXPECT_EQ(
      FormatStatus(
          {.unlocks_pending = 5, .unlocks_running = 2, .unlocks_done = 40, .unlocks_failed = 1}),
      "unlocks pending: 5, 2 of them running; done: 40, failed: 1\n");
}

TEST(StatusText, TheGatewaysVersionIsShownWhereItSaysOne) {
  EXPECT_THAT(FormatStatus({.version = "1.2.3", .commit = "abc\x1b"}),
              StartsWith("gateway 1.2.3, commit abc?\n"));
  EXPECT_THAT(FormatStatus({}), StartsWith("unlocks"));
}

TEST(StatusText, AConfigurationThatWasNotTakenIsShownAndMovesNoCursor) {
  std::string text = FormatStatus(
      {.config_refused = "gateway.yaml:3\x1b[2J", .config_needs_restart = {"store", "log_level"}});
  EXPECT_THAT(text,
              HasSubstr("CONFIGURATION REFUSED, the one before is kept: gateway.yaml:3?[2J\n"));
  EXPECT_THAT(text, HasSubstr("configuration that needs a restart: store, log_level\n"));
}

TEST(StatusText, AStoreThatCannotBeWrittenIsShownAndMovesNoCursor) {
  EXPECT_THAT(FormatStatus({.store_unwritable = "b.db: disk full\x1b[2J"}),
              HasSubstr("THE KEY STORE CANNOT BE WRITTEN, no key is made: b.db: disk full?[2J\n"));
}

TEST(StatusText, ARefusedKeyPolicyIsShownAndMovesNoCursor) {
  std::string text = FormatStatus(
      {.enclaves = {{.address = "e", .policy_refused = "dek.ttl_hard\x1b[2J: got 1h"}}});
  EXPECT_THAT(text, HasSubstr("REFUSED  dek.ttl_hard?[2J: got 1h\n"));
}

}  // namespace
}  // namespace bulla
