#pragma once

// Making a key, and finding out that it is one before anybody is told of it: an address to which
// funds are sent has to be one whose key can be opened again and signs.

#include <string>

#include "crypto/signer.h"
#include "enclave/dek_table.h"
#include "enclave/key_shard.h"
#include "kms/sealed_key.h"

namespace bulla {

// What a key's owner and the store get. Not secret.
struct NewKey {
  SealedKeyHeader header;
  SealedBlob blob{};
  std::string address;  // EIP-55
};

// Draws a key from the kernel and from `entropy` (kExtraEntropyBytesMin to Max) at once, and seals
// it under `dek`. The status of the step that failed.
absl::StatusOr<NewKey> MakeKey(const Signer& signer, const DekLease& dek, const KeyId& id,
                               ByteSpan entropy);

// Opens it again as an enclave would that has only the blob, with a second copy of its DEK, and has
// it sign: the key, to be used from here on. DATA_LOSS when blob, public key and address are not of
// one key, because a fault has come between.
absl::StatusOr<OpenedKey> CheckNewKey(const Signer& signer, const DekLease& dek, const KeyId& id,
                                      const NewKey& key);

}  // namespace bulla
