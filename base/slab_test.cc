#include "base/slab.h"

#include <gtest/gtest.h>
#include <set>

namespace bulla {
namespace {

struct Thing {
  int value = 1;
  LruLinks lru;
};

TEST(Slab, ATakenObjectKeepsItsPlaceAndAFreedOneComesBackNew) {
  Slab<Thing> slab;
  std::uint32_t first = slab.Allocate();
  Thing* where = &slab[first];
  std::set<std::uint32_t> indexes{first};
  for (int i = 0; i < 10'000; ++i) EXPECT_TRUE(indexes.insert(slab.Allocate()).second);
  EXPECT_EQ(&slab[first], where);
  EXPECT_EQ(slab.taken(), 10'001u);
  slab[first].value = 5;
  slab.Free(first);
  EXPECT_EQ(slab.taken(), 10'000u);
  EXPECT_EQ(slab.Allocate(), first);
  EXPECT_EQ(slab[first].value, 1);
}

TEST(LruList, TheOldestIsTheOneThatWasNotMovedForLongest) {
  Slab<Thing> slab;
  LruList<Thing> list(slab);
  std::uint32_t a = slab.Allocate();
  std::uint32_t b = slab.Allocate();
  std::uint32_t c = slab.Allocate();
  EXPECT_EQ(list.oldest(), list.kNone);
  for (std::uint32_t index : {a, b, c}) list.PushNewest(index);
  EXPECT_EQ(list.oldest(), a);
  list.MoveToNewest(a);
  EXPECT_EQ(list.oldest(), b);
  EXPECT_EQ(list.newest(), a);
  list.Remove(c);  // in the middle
  list.Remove(b);  // at the end
  EXPECT_EQ(list.oldest(), a);
  list.Remove(a);
  EXPECT_EQ(list.size(), 0u);
  EXPECT_EQ(list.oldest(), list.kNone);
}

}  // namespace
}  // namespace bulla
