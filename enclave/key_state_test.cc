#include "enclave/key_state.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <vector>

namespace bulla {
namespace {

using std::chrono::seconds;

const MonotonicTime kNow(std::chrono::hours(1));
const MonotonicTime kPast = kNow - seconds(1);
const MonotonicTime kFuture = kNow + seconds(1);

template <typename Fn>
void ForEachPair(Fn&& fn) {
  for (int s = 0; s < kKeyStateCount; ++s) {
    for (int e = 0; e < kKeyEventCount; ++e) {
      auto state = static_cast<KeyState>(s);
      auto event = static_cast<KeyEvent>(e);
      SCOPED_TRACE(std::string(NameOf(state)) + " x " + NameOf(event));
      fn(state, event, Next(state, event));
    }
  }
}

bool HasSecret(KeyState state) { return TemperatureOf(state) == KeyTemperature::kWarm; }

// Every combination of what there can be, at, before and after each limit.
std::vector<KeyFacts> AllFacts() {
  std::vector<KeyFacts> all;
  for (int bits = 0; bits < 8; ++bits) {
    for (MonotonicTime dek : {MonotonicTime(), kPast, kNow, kFuture}) {
      for (MonotonicTime refresh : {kPast, kNow, kFuture}) {
        for (MonotonicTime hard : {kPast, kNow, kFuture}) {
          for (std::uint64_t uses : {0u, 1u, 5u, 6u}) {
            for (MonotonicTime overdue : {kPast, kNow, kFuture}) {
              all.push_back({.blob = (bits & 1) != 0,
                             .dek_until = dek,
                             .secret = (bits & 2) != 0,
                             .refresh_at = refresh,
                             .hard_deadline = hard,
                             .uses_left = uses,
                             .low_water_mark = 5,
                             .flight = (bits & 4) != 0,
                             .flight_overdue_at = overdue});
            }
          }
        }
      }
    }
  }
  return all;
}

TEST(KeyState, ASignatureIsGrantedExactlyWhenThePlainKeyMayBeUsed) {
  for (const KeyFacts& facts : AllFacts()) {
    KeyAction action = Next(facts, KeyEvent::kSign, kNow).action;
    bool granted = action == KeyAction::kGrant || action == KeyAction::kGrantAndRefresh;
    bool usable =
        facts.secret && kNow < facts.dek_until && kNow < facts.hard_deadline && facts.uses_left > 0;
    ASSERT_EQ(granted, usable) << NameOf(StateOf(facts, kNow));
  }
}

TEST(KeyState, AFlightBeginsOnlyWhereNoneIs) {
  for (const KeyFacts& facts : AllFacts()) {
    KeyAction action = Next(facts, KeyEvent::kSign, kNow).action;
    if (action == KeyAction::kGrantAndRefresh || action == KeyAction::kOpenAndWait) {
      ASSERT_FALSE(facts.flight) << NameOf(StateOf(facts, kNow));
    }
    if (action == KeyAction::kWait) {
      ASSERT_TRUE(facts.flight);
    }
  }
}

TEST(KeyState, NothingIsOpenedWithoutBlobAndDek) {
  for (const KeyFacts& facts : AllFacts()) {
    if (facts.secret) continue;
    bool could = facts.blob && kNow < facts.dek_until;
    KeyAction action = Next(facts, KeyEvent::kSign, kNow).action;
    ASSERT_EQ(could, action == KeyAction::kOpenAndWait || action == KeyAction::kWait ||
                         action == KeyAction::kRefuse)
        << NameOf(StateOf(facts, kNow));
  }
}

TEST(KeyState, ASpentPlainKeyGoesBeforeAnythingElseHappens) {
  ForEachPair([](KeyState state, KeyEvent event, KeyTransition transition) {
    if (state != KeyState::kSpent || event == KeyEvent::kDrop) return;
    EXPECT_TRUE(transition.action == KeyAction::kWipeAndRetry ||
                transition.action == KeyAction::kWipe);
    EXPECT_EQ(transition.next, KeyState::kCool);
  });
}

TEST(KeyState, APlainKeyComesByTakeSecretAndGoesByWiping) {
  ForEachPair([](KeyState state, KeyEvent, KeyTransition transition) {
    bool gains = !HasSecret(state) && HasSecret(transition.next);
    bool loses = HasSecret(state) && !HasSecret(transition.next);
    EXPECT_EQ(gains, !HasSecret(state) && transition.action == KeyAction::kTakeSecret);
    bool wipes = transition.action == KeyAction::kWipe ||
                 transition.action == KeyAction::kWipeAndRetry ||
                 transition.action == KeyAction::kDropAll;
    EXPECT_EQ(loses, HasSecret(state) && wipes);
  });
}

TEST(KeyState, EveryEndOfAFlightEndsIt) {
  for (KeyState state : {KeyState::kOpening, KeyState::kOverdue, KeyState::kRefreshing}) {
    for (KeyEvent event : {KeyEvent::kOpened, KeyEvent::kOpenFailed, KeyEvent::kBlobBad}) {
      KeyTransition transition = Next(state, event);
      EXPECT_TRUE(transition.action == KeyAction::kTakeSecret ||
                  transition.action == KeyAction::kFailFlight ||
                  transition.action == KeyAction::kDropAll);
      EXPECT_TRUE(transition.next != KeyState::kOpening && transition.next != KeyState::kOverdue &&
                  transition.next != KeyState::kRefreshing);
    }
  }
}

// No request of a gateway is among them: it could end the enclave.
TEST(KeyState, WhatCannotHappenIsAnEndWithoutAFlightOrTheRemovalOfWhatIsNotThereOrInUse) {
  for (const KeyFacts& facts : AllFacts()) {
    for (int e = 0; e < kKeyEventCount; ++e) {
      const auto event = static_cast<KeyEvent>(e);
      if (Next(facts, event, kNow).action != KeyAction::kCannotHappen) continue;
      switch (event) {
        case KeyEvent::kSign:
        case KeyEvent::kLoad:
          FAIL() << NameOf(StateOf(facts, kNow)) << " x " << NameOf(event);
        case KeyEvent::kOpened:
        case KeyEvent::kOpenFailed:
        case KeyEvent::kBlobBad:
          ASSERT_FALSE(facts.flight) << NameOf(StateOf(facts, kNow));
          break;
        case KeyEvent::kTimer:
        case KeyEvent::kEvict:
          ASSERT_FALSE(facts.secret) << NameOf(StateOf(facts, kNow));
          break;
        case KeyEvent::kDrop:
          ASSERT_TRUE(!facts.blob || facts.secret || facts.flight) << NameOf(StateOf(facts, kNow));
          break;
      }
    }
  }
}

TEST(KeyState, MemoryIsMadeOnlyOfWhatIsThereAndNobodyIsAtWorkOn) {
  ForEachPair([](KeyState state, KeyEvent event, KeyTransition transition) {
    if (event == KeyEvent::kEvict) {
      EXPECT_EQ(transition.action, HasSecret(state) ? KeyAction::kWipe : KeyAction::kCannotHappen);
    }
    if (event == KeyEvent::kDrop) {
      const bool idle = state == KeyState::kCool || state == KeyState::kLocked;
      EXPECT_EQ(transition.action, idle ? KeyAction::kForget : KeyAction::kCannotHappen);
    }
  });
}

TEST(KeyState, NothingIsToBeDoneOnlyForABlobThatIsHereAlready) {
  ForEachPair([](KeyState state, KeyEvent event, KeyTransition transition) {
    if (transition.action == KeyAction::kNone || transition.action == KeyAction::kCannotHappen) {
      EXPECT_EQ(transition.next, state);
    }
    EXPECT_EQ(transition.action == KeyAction::kNone,
              event == KeyEvent::kLoad && state != KeyState::kAbsent && state != KeyState::kSpent);
  });
}

// The table's next state is what the facts say after the action has been done.
TEST(KeyState, TheNextStateIsTheOneThatTheActionLeads) {
  for (const KeyFacts& before : AllFacts()) {
    if (before.secret && !before.blob) continue;  // no such key
    for (int e = 0; e < kKeyEventCount; ++e) {
      KeyTransition transition = Next(before, static_cast<KeyEvent>(e), kNow);
      KeyFacts after = before;
      switch (transition.action) {
        case KeyAction::kGrantAndRefresh:
        case KeyAction::kOpenAndWait:
          after.flight = true;
          after.flight_overdue_at = kFuture;
          break;
        case KeyAction::kWipe:
        case KeyAction::kWipeAndRetry:
          after.secret = false;
          break;
        case KeyAction::kTakeBlob:
          after.blob = true;
          break;
        case KeyAction::kTakeSecret:
          after = {.blob = true,
                   .dek_until = before.dek_until,
                   .secret = true,
                   .refresh_at = kFuture,
                   .hard_deadline = kFuture,
                   .uses_left = 6,
                   .low_water_mark = 5};
          break;
        case KeyAction::kFailFlight:
          after.flight = false;
          break;
        case KeyAction::kForget:
          after.blob = false;
          break;
        case KeyAction::kDropAll:
          after.blob = after.secret = after.flight = false;
          break;
        default:
          break;
      }
      KeyState got = StateOf(after, kNow);
      SCOPED_TRACE(std::string(NameOf(StateOf(before, kNow))) + " x " +
                   NameOf(static_cast<KeyEvent>(e)) + " -> " + NameOf(got));
      // What the table calls COOL is LOCKED while the DEK is not open, and on its way while
      // somebody opens it; what it calls AGING is WARM when the time for it has not come.
      bool same = got == transition.next;
      if (transition.next == KeyState::kCool) {
        same = got == KeyState::kCool || got == KeyState::kLocked || got == KeyState::kOpening ||
               got == KeyState::kOverdue;
      } else if (transition.next == KeyState::kAging) {
        same = got == KeyState::kAging || got == KeyState::kWarm;
      } else if (transition.next == KeyState::kOpening) {
        same = got == KeyState::kOpening || got == KeyState::kOverdue;
      }
      ASSERT_TRUE(same) << "the table says " << NameOf(transition.next);
    }
  }
}

// One limit at a time comes, and a state changes only in the ways that are listed.
TEST(KeyState, WithoutAnEventAStateChangesOnlyInTheWaysThatAreListed) {
  auto listed = [](KeyState from, KeyState to) {
    return std::ranges::any_of(
        KeyDrifts(), [&](const KeyDrift& drift) { return drift.from == from && drift.to == to; });
  };
  for (const KeyFacts& before : AllFacts()) {
    auto check = [&](auto change) {
      KeyFacts after = before;
      change(after);
      KeyState from = StateOf(before, kNow);
      KeyState to = StateOf(after, kNow);
      ASSERT_TRUE(from == to || listed(from, to)) << NameOf(from) << " -> " << NameOf(to);
    };
    if (before.dek_until == kFuture) check([](KeyFacts& facts) { facts.dek_until = kNow; });
    if (before.dek_until != kFuture && !before.secret) {
      check([](KeyFacts& facts) {
        facts.dek_until = kFuture;
        facts.flight = false;
      });
    }
    if (before.refresh_at == kFuture) check([](KeyFacts& facts) { facts.refresh_at = kNow; });
    if (before.flight_overdue_at == kFuture) {
      check([](KeyFacts& facts) { facts.flight_overdue_at = kNow; });
    }
    if (before.uses_left > 0 && before.secret) check([](KeyFacts& facts) { --facts.uses_left; });
    if (before.hard_deadline == kFuture && before.refresh_at <= kNow) {
      check([](KeyFacts& facts) { facts.hard_deadline = kNow; });
    }
  }
}

TEST(KeyState, DocsKeyStatesMdIsDrawnFromTheTable) {
  const char* source_dir = std::getenv("BULLA_SOURCE_DIR");
  if (source_dir == nullptr) GTEST_SKIP() << "BULLA_SOURCE_DIR is not set (ctest sets it)";
  std::ifstream file(std::string(source_dir) + "/docs/key_states.md");
  std::string page(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(page.find(KeyStatesMarkdown()), std::string::npos)
      << "docs/key_states.md should have this:\n"
      << KeyStatesMarkdown();
}

}  // namespace
}  // namespace bulla
