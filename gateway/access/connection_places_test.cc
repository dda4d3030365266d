#include "gateway/access/connection_places.h"

#include <deque>
#include <gtest/gtest.h>

namespace bulla {
namespace {

struct Connection {
  ConnectionPlaces<Connection>::Place place{*this};
};

ClientAddress V4(std::uint8_t last) { return ClientOf(MappedV4({10, 0, 0, last})); }

class ConnectionPlacesTest : public testing::Test {
 protected:
  ~ConnectionPlacesTest() override {
    for (Connection& connection : connections_) places_.Leave(connection.place);
  }
  Connection* Enter(std::uint8_t client) {
    places_.Enter(connections_.emplace_back().place, V4(client));
    return &connections_.back();
  }

  ConnectionPlaces<Connection> places_;
  std::deque<Connection> connections_;
};

TEST_F(ConnectionPlacesTest, TheClientThatHoldsMostGivesUpWhatHasWaitedLongest) {
  EXPECT_EQ(places_.ToGiveUp(), nullptr);
  Enter(1);
  Connection* first = Enter(2);
  Connection* second = Enter(2);
  EXPECT_EQ(places_.ToGiveUp(), first);
  places_.Works(first->place);
  places_.Waits(first->place);  // a request was served: it has waited less now
  EXPECT_EQ(places_.ToGiveUp(), second);
  places_.Waits(second->place);
  EXPECT_EQ(places_.ToGiveUp(), second) << "part of a request does not count as one";
}

TEST_F(ConnectionPlacesTest, WhoIsServedIsLeftAlone) {
  Connection* only = Enter(1);
  Connection* busy[] = {Enter(2), Enter(2), Enter(2)};
  for (Connection* each : busy) places_.Works(each->place);
  EXPECT_EQ(places_.ToGiveUp(), only) << "of the next largest client";
  places_.Works(only->place);
  EXPECT_EQ(places_.ToGiveUp(), nullptr);
  places_.Waits(busy[1]->place);
  EXPECT_EQ(places_.ToGiveUp(), busy[1]);
}

TEST_F(ConnectionPlacesTest, WhoLeavesNoLongerCounts) {
  Connection* first = Enter(1);
  Enter(1);
  Connection* other = Enter(2);
  places_.Leave(first->place);
  places_.Leave(first->place);
  places_.Waits(first->place);
  Enter(2);
  EXPECT_EQ(places_.ToGiveUp(), other);
}

// One that takes all it can get, and many that have one each: they keep it.
TEST_F(ConnectionPlacesTest, OneClientTakesPlacesFromItselfAlone) {
  constexpr std::size_t kPlaces = 100;
  std::deque<Connection*> held;
  for (std::uint8_t client = 1; client <= 50; ++client) held.push_back(Enter(client));
  for (int i = 0; i < 1000; ++i) {
    if (held.size() >= kPlaces) {
      Connection* given_up = places_.ToGiveUp();
      ASSERT_EQ(given_up, held[50]) << "the greedy one's oldest";
      places_.Leave(given_up->place);
      held.erase(held.begin() + 50);
    }
    held.push_back(Enter(200));
  }
}

}  // namespace
}  // namespace bulla
