#pragma once

// The life of a key in the enclave, as one table: for each state and event, the next state and what
// is to be done. Everything that decides whether a signature may be made is here; who keeps the
// entries (key_shard.h) does what the table says. docs/key_states.md is drawn from it.
//
// A state is not stored, it is read off what is there at this moment (StateOf): so a DEK that
// lapses stops every key under it without anybody walking over them, and one that is renewed brings
// them back in the same way.

#include <cstdint>
#include <span>
#include <string>

#include "base/clock.h"

namespace bulla {

// What there is of a key.
struct KeyFacts {
  bool blob = false;          // its sealed blob
  MonotonicTime dek_until{};  // its DEK may be used before this; the epoch when it is not open
  bool secret = false;        // its plain key; the next four are of it
  MonotonicTime refresh_at{};
  MonotonicTime hard_deadline{};
  std::uint64_t uses_left = 0;
  std::uint64_t low_water_mark = 0;
  bool flight = false;  // somebody is opening the blob
  MonotonicTime flight_overdue_at{};
};

enum class KeyState : std::uint8_t {
  kAbsent,      // no blob
  kLocked,      // blob, but its DEK is not open
  kCool,        // blob and DEK
  kOpening,     // COOL, and somebody is opening the blob
  kOverdue,     // the same, for longer than hard_refresh_budget
  kSpent,       // a plain key that may not be used any more: time, uses or DEK are over
  kWarm,        // a plain key
  kAging,       // WARM, with little time or few uses left
  kRefreshing,  // WARM, and somebody is opening the blob for a fresh one
};
inline constexpr int kKeyStateCount = 9;

enum class KeyEvent : std::uint8_t {
  kSign,        // a signature is asked for
  kLoad,        // its blob arrived
  kOpened,      // a flight ended: the plain key is here
  kOpenFailed,  // a flight ended without one, for a reason that may pass
  kBlobBad,     // a flight ended: the blob does not open
  kTimer,       // the wheel says that its time may be over
  kEvict,       // locked memory is needed
  kDrop,        // memory is needed
};
inline constexpr int kKeyEventCount = 8;

enum class KeyAction : std::uint8_t {
  kNone,             // there is nothing to do
  kCannotHappen,     // the event does not belong to the state: the caller has a fault
  kGrant,            // take a use and sign
  kGrantAndRefresh,  // the same, and begin a flight behind it
  kOpenAndWait,      // begin a flight; the signature waits for it
  kWait,             // the signature waits for the flight
  kAskBlob,          // answer kNeedBlob
  kAskDek,           // answer kNeedDek: UNLOCK_REQUIRED
  kRefuse,           // answer kRehydrateTimeout: UNLOCK_REQUIRED
  kWipeAndRetry,     // wipe the plain key, then look at the event again
  kWipe,             // wipe the plain key
  kRearm,            // set the timer for what is its time now
  kTakeBlob,         // keep the blob
  kTakeSecret,       // keep the plain key, end the flight: its waiters sign
  kFailFlight,       // end the flight: its waiters are told so
  kForget,           // forget the blob; a flight goes on, and finds nothing when it ends
  kDropAll,          // wipe the plain key, forget the blob, end the flight as failed
};
inline constexpr int kKeyActionCount = 17;

struct KeyTransition {
  KeyState next;
  KeyAction action;
  friend bool operator==(const KeyTransition&, const KeyTransition&) = default;
};

KeyState StateOf(const KeyFacts& facts, MonotonicTime now);

// The table. Total: every pair has an answer, be it that it cannot happen. Those pairs are of
// events that the enclave itself brings about (the end of a flight, the timer, evictions), never of
// what a gateway asks for.
KeyTransition Next(KeyState state, KeyEvent event);

inline KeyTransition Next(const KeyFacts& facts, KeyEvent event, MonotonicTime now) {
  return Next(StateOf(facts, now), event);
}

// How a state is counted: "WARM", "COOL" or "INVALID" of the spec. A spent plain key is in memory
// until it is wiped, and counted as what it is.
enum class KeyTemperature : std::uint8_t { kInvalid, kCool, kWarm };
KeyTemperature TemperatureOf(KeyState state);

const char* NameOf(KeyState state);
const char* NameOf(KeyEvent event);
const char* NameOf(KeyAction action);

// The changes of state that no event brings: time passes, a DEK is opened, uses are spent.
struct KeyDrift {
  KeyState from;
  KeyState to;
  const char* why;
};
std::span<const KeyDrift> KeyDrifts();

// The table and its diagram (Mermaid), as docs/key_states.md shows them.
std::string KeyStatesMarkdown();

}  // namespace bulla
