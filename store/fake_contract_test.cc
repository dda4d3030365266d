// That the store in memory, on which tests of the gateway rest, does what a key store has to.

#include "store/key_store_contract.h"
#include "tests/fakes/fake_key_store.h"

namespace bulla {
namespace {

class FakeUnderTest final : public StoreUnderTest {
 public:
  KeyStore& store() override { return store_; }
  void Reopen() override {}  // it has nothing to lose
  void SetEnabled(const KeyId& key_id, bool enabled) override {
    store_.SetEnabled(key_id, enabled);
  }
  void Remove(const KeyId& key_id) override { store_.Remove(key_id); }

 private:
  FakeKeyStore store_;
};

std::unique_ptr<StoreUnderTest> MakeFake() { return std::make_unique<FakeUnderTest>(); }

INSTANTIATE_TEST_SUITE_P(InMemory, KeyStoreContract, testing::Values(&MakeFake),
                         [](const auto&) { return "store"; });

}  // namespace
}  // namespace bulla
