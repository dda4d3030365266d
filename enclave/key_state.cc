#include "enclave/key_state.h"

#include <array>
#include <fmt/format.h>

namespace bulla {
namespace {

using S = KeyState;
using A = KeyAction;

constexpr KeyTransition Stay(KeyState state, KeyAction action) { return {state, action}; }
constexpr KeyTransition Nothing(KeyState state) { return {state, A::kNone}; }
constexpr KeyTransition Never(KeyState state) { return {state, A::kCannotHappen}; }
// Of a plain key that may not be used: first it goes, then the event meets what is left.
constexpr KeyTransition kSpentFirst{S::kCool, A::kWipeAndRetry};

using Row = std::array<KeyTransition, kKeyEventCount>;

// Columns in the order of KeyEvent: kSign, kLoad, kOpened, kOpenFailed, kBlobBad, kTimer, kEvict,
// kDrop. A flight may end when its blob or its DEK is gone: it has waiters to answer all the same.
// Without a flight none ends; the timer and evictions are of plain keys; and what is dropped is a
// blob that nobody is at work on.
constexpr std::array<Row, kKeyStateCount> kTable = {{
    // kAbsent
    {{Stay(S::kAbsent, A::kAskBlob),
      {S::kCool, A::kTakeBlob},
      Stay(S::kAbsent, A::kFailFlight),
      Stay(S::kAbsent, A::kFailFlight),
      Stay(S::kAbsent, A::kFailFlight),
      Never(S::kAbsent),
      Never(S::kAbsent),
      Never(S::kAbsent)}},
    // kLocked
    {{Stay(S::kLocked, A::kAskDek),
      Nothing(S::kLocked),
      Stay(S::kLocked, A::kFailFlight),  // the DEK lapsed while it was at work
      Stay(S::kLocked, A::kFailFlight),
      {S::kAbsent, A::kDropAll},
      Never(S::kLocked),
      Never(S::kLocked),
      {S::kAbsent, A::kForget}}},
    // kCool
    {{{S::kOpening, A::kOpenAndWait},
      Nothing(S::kCool),
      Never(S::kCool),
      Never(S::kCool),
      Never(S::kCool),
      Never(S::kCool),
      Never(S::kCool),
      {S::kAbsent, A::kForget}}},
    // kOpening
    {{Stay(S::kOpening, A::kWait),
      Nothing(S::kOpening),
      {S::kWarm, A::kTakeSecret},
      {S::kCool, A::kFailFlight},
      {S::kAbsent, A::kDropAll},
      Never(S::kOpening),
      Never(S::kOpening),
      Never(S::kOpening)}},
    // kOverdue
    {{Stay(S::kOverdue, A::kRefuse),
      Nothing(S::kOverdue),
      {S::kWarm, A::kTakeSecret},
      {S::kCool, A::kFailFlight},
      {S::kAbsent, A::kDropAll},
      Never(S::kOverdue),
      Never(S::kOverdue),
      Never(S::kOverdue)}},
    // kSpent
    {{kSpentFirst,
      kSpentFirst,
      kSpentFirst,
      kSpentFirst,
      kSpentFirst,
      {S::kCool, A::kWipe},
      {S::kCool, A::kWipe},
      Never(S::kSpent)}},
    // kWarm
    {{Stay(S::kWarm, A::kGrant),
      Nothing(S::kWarm),
      Never(S::kWarm),
      Never(S::kWarm),
      Never(S::kWarm),
      Stay(S::kWarm, A::kRearm),  // its DEK was renewed since the timer was set
      {S::kCool, A::kWipe},
      Never(S::kWarm)}},
    // kAging
    {{{S::kRefreshing, A::kGrantAndRefresh},
      Nothing(S::kAging),
      Never(S::kAging),
      Never(S::kAging),
      Never(S::kAging),
      Stay(S::kAging, A::kRearm),
      {S::kCool, A::kWipe},
      Never(S::kAging)}},
    // kRefreshing
    {{Stay(S::kRefreshing, A::kGrant),
      Nothing(S::kRefreshing),
      {S::kWarm, A::kTakeSecret},
      {S::kAging, A::kFailFlight},
      {S::kAbsent, A::kDropAll},
      Stay(S::kRefreshing, A::kRearm),
      {S::kOpening, A::kWipe},
      Never(S::kRefreshing)}},
}};

constexpr KeyDrift kDrifts[] = {
    {S::kLocked, S::kCool, "its DEK is opened"},
    {S::kCool, S::kLocked, "its DEK lapses"},
    {S::kOpening, S::kOverdue, "hard_refresh_budget is over"},
    {S::kOpening, S::kLocked, "its DEK lapses"},
    {S::kOverdue, S::kLocked, "its DEK lapses"},
    {S::kWarm, S::kAging, "refresh window or low-water mark"},
    {S::kWarm, S::kSpent, "its DEK lapses"},
    {S::kAging, S::kSpent, "hard TTL, last use, or its DEK lapses"},
    {S::kRefreshing, S::kSpent, "hard TTL, last use, or its DEK lapses"},
};

constexpr std::array<const char*, kKeyStateCount> kStateNames = {
    "Absent", "Locked", "Cool", "Opening", "Overdue", "Spent", "Warm", "Aging", "Refreshing"};
constexpr std::array<const char*, kKeyEventCount> kEventNames = {
    "sign", "load", "opened", "open failed", "blob bad", "timer", "evict", "drop"};
constexpr std::array<const char*, kKeyActionCount> kActionNames = {"none",
                                                                   "cannot happen",
                                                                   "grant",
                                                                   "grant and refresh",
                                                                   "open and wait",
                                                                   "wait",
                                                                   "ask for the blob",
                                                                   "ask for the DEK",
                                                                   "refuse",
                                                                   "wipe and retry",
                                                                   "wipe",
                                                                   "rearm",
                                                                   "take the blob",
                                                                   "take the plain key",
                                                                   "fail the flight",
                                                                   "forget",
                                                                   "drop all"};

template <std::size_t N, typename E>
const char* NameIn(const std::array<const char*, N>& names, E value) {
  return names.at(static_cast<std::size_t>(value));
}

const char* NameOf(KeyTemperature temperature) {
  static constexpr std::array<const char*, 3> kNames = {"INVALID", "COOL", "WARM"};
  return NameIn(kNames, temperature);
}

}  // namespace

KeyState StateOf(const KeyFacts& facts, MonotonicTime now) {
  bool dek = now < facts.dek_until;
  if (facts.secret) {
    if (!dek || now >= facts.hard_deadline || facts.uses_left == 0) return S::kSpent;
    if (facts.flight) return S::kRefreshing;
    bool aging = now >= facts.refresh_at || facts.uses_left <= facts.low_water_mark;
    return aging ? S::kAging : S::kWarm;
  }
  if (!facts.blob) return S::kAbsent;
  if (!dek) return S::kLocked;
  if (!facts.flight) return S::kCool;
  return now >= facts.flight_overdue_at ? S::kOverdue : S::kOpening;
}

KeyTransition Next(KeyState state, KeyEvent event) {
  return kTable.at(static_cast<std::size_t>(state)).at(static_cast<std::size_t>(event));
}

KeyTemperature TemperatureOf(KeyState state) {
  switch (state) {
    case S::kAbsent:
    case S::kLocked:
      return KeyTemperature::kInvalid;
    case S::kCool:
    case S::kOpening:
    case S::kOverdue:
      return KeyTemperature::kCool;
    case S::kSpent:
    case S::kWarm:
    case S::kAging:
    case S::kRefreshing:
      break;
  }
  return KeyTemperature::kWarm;
}

const char* NameOf(KeyState state) { return NameIn(kStateNames, state); }
const char* NameOf(KeyEvent event) { return NameIn(kEventNames, event); }
const char* NameOf(KeyAction action) { return NameIn(kActionNames, action); }

std::span<const KeyDrift> KeyDrifts() { return kDrifts; }

std::string KeyStatesMarkdown() {
  std::string page = "```mermaid\nstateDiagram-v2\n    [*] --> Absent\n";
  for (int s = 0; s < kKeyStateCount; ++s) {
    for (int e = 0; e < kKeyEventCount; ++e) {
      auto state = static_cast<KeyState>(s);
      auto event = static_cast<KeyEvent>(e);
      KeyTransition transition = Next(state, event);
      if (transition.next == state) continue;
      page += fmt::format("    {} --> {}: {} / {}\n", NameOf(state), NameOf(transition.next),
                          NameOf(event), NameOf(transition.action));
    }
  }
  for (const KeyDrift& drift : kDrifts) {
    page += fmt::format("    {} --> {}: {}\n", NameOf(drift.from), NameOf(drift.to), drift.why);
  }
  page += "```\n\n| state | counted as |";
  for (const char* event : kEventNames) page += fmt::format(" {} |", event);
  page += "\n|---|---|";
  for (int e = 0; e < kKeyEventCount; ++e) page += "---|";
  page += "\n";
  for (int s = 0; s < kKeyStateCount; ++s) {
    auto state = static_cast<KeyState>(s);
    page += fmt::format("| **{}** | {} |", NameOf(state), NameOf(TemperatureOf(state)));
    for (int e = 0; e < kKeyEventCount; ++e) {
      KeyTransition transition = Next(state, static_cast<KeyEvent>(e));
      if (transition.action == A::kNone) {
        page += " – |";
      } else if (transition.next == state) {
        page += fmt::format(" {} |", NameOf(transition.action));
      } else {
        page += fmt::format(" {} → {} |", NameOf(transition.action), NameOf(transition.next));
      }
    }
    page += "\n";
  }
  return page;
}

}  // namespace bulla
