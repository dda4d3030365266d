#include "crypto/secret_arena.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "base/mutex.h"
#include "base/random.h"

namespace bulla {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kSlotBytes = 32;

std::unique_ptr<SecretArena> Arena(std::size_t budget_bytes, std::size_t slot_bytes = kSlotBytes) {
  return SecretArena::Create({.slot_bytes = slot_bytes, .budget_bytes = budget_bytes}).value();
}

bool IsLocked(const SecretArena& arena) { return arena.locked_memory().Check().ok(); }

std::size_t PageBytes() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

bool IsAll(ByteSpan bytes, std::uint8_t value) {
  return std::all_of(bytes.begin(), bytes.end(), [&](std::uint8_t byte) { return byte == value; });
}

void Fill(MutableByteSpan bytes, std::uint8_t value) {
  std::fill(bytes.begin(), bytes.end(), value);
}

// What the kernel says of the mapping around `address`: proc(5), /proc/pid/smaps.
struct Mapping {
  std::size_t rss_kib = 0;
  std::set<std::string> flags;  // two letters each
};
Mapping MappingOf(const void* address) {
  const std::uintptr_t wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream smaps("/proc/self/smaps");
  Mapping found;
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    std::istringstream words(line);
    std::uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::string name;
    if (words >> std::hex >> begin >> dash >> end && dash == '-') {
      inside = begin <= wanted && wanted < end;
    } else if (inside) {
      words = std::istringstream(line);
      words >> name;
      if (name == "Rss:") words >> found.rss_kib;
      for (std::string flag; name == "VmFlags:" && words >> flag;) found.flags.insert(flag);
    }
  }
  return found;
}

TEST(SecretArena, KeepsItsBudgetExactly) {
  struct Case {
    std::size_t budget_bytes, slot_bytes;
    std::uint32_t slots;
  };
  for (const Case& c :
       {Case{0, 32, 0}, Case{31, 32, 0}, Case{32, 32, 1}, Case{63, 32, 1}, Case{4096, 32, 128},
        Case{4128, 32, 129}, Case{1, 1, 1}, Case{100'000, 40, 2500}, Case{9000, 9000, 1}}) {
    SCOPED_TRACE(c.budget_bytes);
    std::unique_ptr<SecretArena> arena = Arena(c.budget_bytes, c.slot_bytes);
    EXPECT_EQ(arena->slots(), c.slots);
    std::vector<std::uint32_t> taken;
    for (std::uint32_t i = 0; i < c.slots; ++i) {
      std::optional<std::uint32_t> slot = arena->Allocate();
      ASSERT_TRUE(slot.has_value());
      EXPECT_EQ(arena->Expose(*slot).size(), c.slot_bytes);
      Fill(arena->Expose(*slot), 7);  // to the last byte of the last slot
      taken.push_back(*slot);
    }
    EXPECT_EQ(arena->Allocate(), std::nullopt);
    EXPECT_EQ(arena->taken(), c.slots);
    for (std::uint32_t slot : taken) arena->Free(slot);
    EXPECT_EQ(arena->taken(), 0u);
    EXPECT_EQ(arena->Allocate().has_value(), c.slots > 0);
  }
}

TEST(SecretArena, RefusesWhatItCannotNumberOrMap) {
  auto refusal = [](std::size_t budget_bytes, std::size_t slot_bytes) {
    return SecretArena::Create({.slot_bytes = slot_bytes, .budget_bytes = budget_bytes})
        .status()
        .code();
  };
  constexpr std::size_t kMax = std::numeric_limits<std::size_t>::max();
  EXPECT_EQ(refusal(32, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(std::size_t{0xffff'ffff} * 32, 32), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(kMax, kMax), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refusal(kMax / 2, kMax / 2), absl::StatusCode::kResourceExhausted);
}

TEST(SecretArena, SlotsAreDistinctAndZeroWhenHandedOut) {
  std::unique_ptr<SecretArena> arena = Arena(64 * 1024);
  for (int round = 0; round < 3; ++round) {
    std::vector<std::uint32_t> slots;
    while (std::optional<std::uint32_t> slot = arena->Allocate()) {
      ASSERT_TRUE(IsAll(arena->Expose(*slot), 0)) << *slot;
      Fill(arena->Expose(*slot), static_cast<std::uint8_t>(1 + *slot % 255));
      slots.push_back(*slot);
    }
    for (std::uint32_t slot : slots) {
      ASSERT_TRUE(IsAll(arena->Expose(slot), static_cast<std::uint8_t>(1 + slot % 255))) << slot;
      arena->Free(slot);
    }
  }
}

TEST(SecretArena, WipesWhenFreedAndNotWhenNextUsed) {
  std::unique_ptr<SecretArena> arena = Arena(1024);
  std::uint32_t first = *arena->Allocate(), second = *arena->Allocate();
  Fill(arena->Expose(first), 7);
  Fill(arena->Expose(second), 8);
  arena->Free(first);
  EXPECT_TRUE(IsAll(arena->Expose(first), 0));
  EXPECT_TRUE(IsAll(arena->Expose(second), 8));
}

TEST(SecretArena, AMillionAllocationsAndFreesInRandomOrderLoseNoSlot) {
  const char* seed_text = std::getenv("BULLA_TEST_SEED");
  std::uint64_t seed = seed_text ? std::strtoull(seed_text, nullptr, 10) : RandomUint64();
  SCOPED_TRACE("BULLA_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::unique_ptr<SecretArena> arena = Arena(1000 * kSlotBytes);
  std::vector<std::uint32_t> taken;
  std::vector<bool> is_taken(arena->slots());
  for (int i = 0; i < 1'000'000; ++i) {
    // Full and empty are met again and again: the mean number taken drifts.
    const bool allocate = random() % 1000 < (i / 10'000 % 2 == 0 ? 600u : 400u);
    if (allocate) {
      std::optional<std::uint32_t> slot = arena->Allocate();
      ASSERT_EQ(slot.has_value(), taken.size() < arena->slots());
      if (!slot) continue;
      ASSERT_LT(*slot, arena->slots());
      ASSERT_FALSE(is_taken[*slot]) << "handed out twice";
      ASSERT_TRUE(IsAll(arena->Expose(*slot).first(1), 0));
      arena->Expose(*slot)[0] = 1;
      is_taken[*slot] = true;
      taken.push_back(*slot);
    } else if (!taken.empty()) {
      std::swap(taken[random() % taken.size()], taken.back());
      arena->Free(taken.back());
      is_taken[taken.back()] = false;
      taken.pop_back();
    }
    ASSERT_EQ(arena->taken(), taken.size());
  }
}

TEST(SecretArena, HolderOfASlotNeedsNoGuardForItsBytes) {  // means something under TSan
  std::unique_ptr<SecretArena> arena = Arena(64 * kSlotBytes);
  Mutex mutex;
  std::vector<std::thread> threads;
  for (std::uint8_t name = 1; name <= 4; ++name) {
    threads.emplace_back([&, name] {
      for (int i = 0; i < 2000; ++i) {
        std::uint32_t slot = 0;
        {
          MutexLock lock(mutex);
          slot = *arena->Allocate();
        }
        Fill(arena->Expose(slot), name);
        EXPECT_TRUE(IsAll(arena->Expose(slot), name));
        MutexLock lock(mutex);
        arena->Free(slot);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(arena->taken(), 0u);
}

TEST(SecretArena, AChildSeesZeros) {
  std::unique_ptr<SecretArena> arena = Arena(64 * 1024);
  std::uint32_t slot = *arena->Allocate();
  Fill(arena->Expose(slot), 7);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(IsAll(arena->Expose(slot), 0) ? 0 : 1);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_TRUE(IsAll(arena->Expose(slot), 7)) << "the parent keeps its own";
}

TEST(SecretArena, IsUndumpableAndWipedOnForkFromEndToEndAndLockedWhenItSaysSo) {
  std::unique_ptr<SecretArena> arena = Arena(100 * PageBytes());
  for (std::uint32_t slot : {std::uint32_t{0}, arena->slots() - 1}) {
    std::set<std::string> flags = MappingOf(arena->Expose(slot).data()).flags;
    EXPECT_TRUE(flags.contains("dd")) << slot;
    EXPECT_TRUE(flags.contains("wf")) << slot;
    EXPECT_TRUE(!IsLocked(*arena) || flags.contains("lo")) << slot;
  }
}

TEST(SecretArena, TakesMemoryWithTheFirstUseOfAPage) {
  std::unique_ptr<SecretArena> arena = Arena(std::size_t{64} << 20);
  const std::uint8_t* memory = arena->Expose(0).data();
  EXPECT_EQ(MappingOf(memory).rss_kib, 0u);
  Fill(arena->Expose(*arena->Allocate()), 7);
  EXPECT_GT(MappingOf(memory).rss_kib, 0u);
  EXPECT_LE(MappingOf(memory).rss_kib, 2048u);  // a huge page, where the machine prefers those
}

TEST(SecretArenaDeathTest, AGuardPageLiesOnBothSides) {
  std::unique_ptr<SecretArena> arena = Arena(2 * PageBytes());
  volatile std::uint8_t* before = arena->Expose(0).data() - 1;
  volatile std::uint8_t* last = arena->Expose(arena->slots() - 1).data() + kSlotBytes - 1;
  *last = 1;                                                       // ours
  for (const volatile std::uint8_t* guard : {before, last + 1}) {  // and not merely a gap
    std::set<std::string> flags = MappingOf(const_cast<const std::uint8_t*>(guard)).flags;
    EXPECT_FALSE(flags.empty());
    EXPECT_FALSE(flags.contains("rd") || flags.contains("wr"));
  }
  EXPECT_DEATH(*before = 1, "");
  EXPECT_DEATH(*(last + 1) = 1, "");
  EXPECT_DEATH(static_cast<void>(*before), "");
}

TEST(SecretArenaDeathTest, ASlotIsFreedOnceAndOnlyWhenTaken) {
  std::unique_ptr<SecretArena> arena = Arena(1024);
  std::uint32_t slot = *arena->Allocate();
  EXPECT_DEATH(arena->Free(slot + 1), "not taken");
  arena->Free(slot);
  EXPECT_DEATH(arena->Free(slot), "not taken");
  EXPECT_DEATH(arena->Free(0xffff'ffff), "not taken");
  EXPECT_DEATH(arena->Expose(arena->slots()), "no such slot");
}

// ---- Under a lowered RLIMIT_MEMLOCK: in a child, for it cannot be raised again -----------------

// Below the 64 KiB that was the kernel's default for long; not a power of two, so that what may be
// locked takes more than one call.
constexpr std::size_t kLimitPages = 5;

void Require(bool condition, std::string_view what) {
  if (condition) return;
  std::fprintf(stderr, "%.*s\n", static_cast<int>(what.size()), what.data());
  ::_exit(1);
}

void LimitLockedMemory(std::size_t bytes) {
  const rlimit limit{bytes, bytes};
  Require(::setrlimit(RLIMIT_MEMLOCK, &limit) == 0, "setrlimit");
  // Without root's CAP_IPC_LOCK, to which no limit applies; any other user has none.
  if (::geteuid() == 0) Require(::seteuid(65534) == 0, "seteuid");
}

std::unique_ptr<SecretArena> ArenaOfPages(std::size_t pages) { return Arena(pages * PageBytes()); }

[[noreturn]] void LockUnderLimit() {
  LimitLockedMemory(kLimitPages * PageBytes());
  for (int i = 0; i < 3; ++i) {  // what is destroyed locks nothing
    Require(IsLocked(*ArenaOfPages(kLimitPages)), "the limit itself is refused");
    absl::Status above = ArenaOfPages(kLimitPages + 1)->locked_memory().Check();
    Require(above.code() == absl::StatusCode::kFailedPrecondition, "a page too many");
    std::fprintf(stderr, "%s\n", above.ToString().c_str());
  }
  ::_exit(0);
}

TEST(SecretArenaDeathTest, WhatALowLimitLeavesUnlockedIsSaidAndHowToRaiseIt) {
  EXPECT_EXIT(
      LockUnderLimit(), ::testing::ExitedWithCode(0),
      ::testing::AllOf(
          HasSubstr(std::to_string(kLimitPages * PageBytes()) + " of " +
                    std::to_string((kLimitPages + 1) * PageBytes()) + " bytes are locked"),
          HasSubstr("RLIMIT_MEMLOCK is " + std::to_string(kLimitPages * PageBytes()) + " bytes"),
          HasSubstr("LimitMEMLOCK="), HasSubstr("ulimit -l")));
}

[[noreturn]] void GoOnUnlocked(std::size_t limit_pages) {
  LimitLockedMemory(limit_pages * PageBytes());
  const std::unique_ptr<SecretArena> made = ArenaOfPages(50);
  SecretArena& arena = *made;
  Require(!IsLocked(arena), "says that it is locked");
  while (std::optional<std::uint32_t> slot = arena.Allocate()) Fill(arena.Expose(*slot), 7);
  Require(arena.taken() == arena.slots(), "not all slots can be used");
  Require(MappingOf(arena.Expose(0).data()).flags.contains("lo") == (limit_pages > 0),
          "the first slots are the ones to lock");
  Require(!MappingOf(arena.Expose(arena.slots() - 1).data()).flags.contains("lo"),
          "more is locked than the limit allows");
  std::fprintf(stderr, "%s\n", arena.locked_memory().Check().ToString().c_str());
  ::_exit(0);
}

TEST(SecretArenaDeathTest, WhenItNeedNotBeLockedItLocksWhatItMayAndSaysSo) {
  EXPECT_EXIT(GoOnUnlocked(kLimitPages), ::testing::ExitedWithCode(0),
              HasSubstr(std::to_string(kLimitPages * PageBytes()) + " of "));
  EXPECT_EXIT(GoOnUnlocked(0), ::testing::ExitedWithCode(0), HasSubstr(" 0 of "));
}

}  // namespace
}  // namespace bulla
