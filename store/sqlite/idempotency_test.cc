// Which question this answers: does an idempotency key stand for one request, for as long as is
// promised and no longer?

#include "store/sqlite/idempotency.h"

#include <gtest/gtest.h>

#include "store/sqlite/store.h"
#include "store/sqlite/testing.h"
#include "tests/fakes/fake_clock.h"

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

class SqliteIdempotencyTest : public ::testing::Test {
 protected:
  SqliteIdempotencyTest() {
    store_ =
        SqliteStore::Open({.path = dir_.File(), .keep_interval = milliseconds(5), .clock = &clock_})
            .value();
    EXPECT_TRUE(PutDek(*store_, dek_).ok());
  }
  KeyId Put(const Idempotency& idempotency) {
    return PutKey(*store_, NewKey(dek_), idempotency).value().key_id;
  }
  std::int64_t Remembered() { return OneInteger(dir_.File(), "SELECT count(*) FROM idempotency"); }

  TempDir dir_;
  FakeClock clock_;
  const DekRow dek_ = NewDek();
  std::unique_ptr<SqliteStore> store_;
};

TEST_F(SqliteIdempotencyTest, AfterADayAKeyIsFree) {
  KeyId first = Put(Order("order 1"));
  clock_.Advance(hours(24) - milliseconds(1));
  EXPECT_EQ(Put(Order("order 1")), first);
  clock_.Advance(milliseconds(1));
  EXPECT_EQ(FindKeyByIdempotency(*store_, Order("order 1", "another request")).value(),
            std::nullopt);
  KeyId second = Put(Order("order 1", "another request"));
  EXPECT_NE(second, first);
  EXPECT_TRUE(FindKey(*store_, first).value().has_value()) << "what was made stays";
  clock_.Advance(hours(23));
  EXPECT_EQ(Put(Order("order 1", "another request")), second) << "a day from the second";
}

TEST_F(SqliteIdempotencyTest, AKeyThatWasRemovedFromTheStoreIsNoneThatStands) {
  KeyId first = Put(Order("order 1"));
  SqliteConnection connection = SqliteConnection::Open(dir_.File()).value();
  ASSERT_EQ(connection.Execute("DELETE FROM keys"), absl::OkStatus());
  EXPECT_NE(Put(Order("order 1")), first);
}

TEST_F(SqliteIdempotencyTest, EachThatIsRememberedForgetsTwo) {
  for (int i = 0; i < 10; ++i) Put(Order("old " + std::to_string(i)));
  clock_.Advance(hours(25));
  const std::int64_t before = Remembered();
  Put(Order("new"));
  EXPECT_LE(Remembered(), before + 1 - 2);
}

TEST_F(SqliteIdempotencyTest, TheRestIsForgottenInStepsThoughNobodyAsks) {
  HeldWriter held(*store_);
  for (int i = 0; i < 300; ++i) {
    store_->PutKey(NewKey(dek_), Order(std::to_string(i)), [](const auto&) {});
  }
  held.Release();
  ASSERT_TRUE(AwaitBlocking(kPatience, [&] { return Remembered() == 300; }));
  clock_.Advance(hours(25));
  ASSERT_TRUE(AwaitBlocking(kPatience, [&] { return Remembered() < 300; }));
  EXPECT_EQ(Remembered(), 300 - 128) << "a step";
  EXPECT_TRUE(AwaitBlocking(kPatience, [&] {
    clock_.Advance(std::chrono::seconds(10));
    return Remembered() == 0;
  }));
  EXPECT_EQ(CountKeys(*store_), 300);
}

}  // namespace
}  // namespace bulla
