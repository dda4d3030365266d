// That the store in SQLite does what a key store has to.

#include "base/bytes.h"
#include "store/key_store_contract.h"
#include "store/sqlite/testing.h"

namespace bulla {
namespace {

class SqliteUnderTest final : public StoreUnderTest {
 public:
  SqliteUnderTest() { Reopen(); }
  KeyStore& store() override { return *store_; }
  void Reopen() override {
    store_.reset();
    store_ = SqliteStore::Open({.path = dir_.File()}).value();
  }
  void SetEnabled(const KeyId& key_id, bool enabled) override {
    Execute(std::string("UPDATE keys SET enabled = ") + (enabled ? "1" : "0"), key_id);
  }
  void Remove(const KeyId& key_id) override { Execute("DELETE FROM keys", key_id); }

 private:
  void Execute(const std::string& sql, const KeyId& key_id) {
    SqliteConnection connection = SqliteConnection::Open(dir_.File()).value();
    const std::string where = " WHERE key_id = x'" + HexEncode(key_id.bytes) + "'";
    ASSERT_EQ(connection.Execute((sql + where).c_str()), absl::OkStatus());
  }

  TempDir dir_;
  std::unique_ptr<SqliteStore> store_;
};

std::unique_ptr<StoreUnderTest> MakeSqlite() { return std::make_unique<SqliteUnderTest>(); }

INSTANTIATE_TEST_SUITE_P(Sqlite, KeyStoreContract, testing::Values(&MakeSqlite),
                         [](const auto&) { return "store"; });

}  // namespace
}  // namespace bulla
