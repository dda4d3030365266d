#include "enclave/new_key.h"

#include <algorithm>

#include "base/random.h"
#include "crypto/address.h"
#include "crypto/fault_points.h"
#include "crypto/key_generation.h"
#include "crypto/verifier.h"

namespace bulla {

absl::StatusOr<NewKey> MakeKey(const Signer& signer, const DekLease& dek, const KeyId& id,
                               ByteSpan entropy) {
  NewKey made;
  BULLA_ASSIGN_OR_RETURN(Secret<32> secret, GenerateSecretKey(signer, entropy));
  BULLA_FAULT_LIVE("new key", &secret, sizeof secret);
  BULLA_FAULT_LIVE("what is known of it", &made.header, sizeof made.header);
  BULLA_FAULT_LIVE("DEK", &dek.key, sizeof dek.key);
  BULLA_FAULT_STAGE("a key is drawn");
  BULLA_ASSIGN_OR_RETURN(const PublicPoint point, signer.DerivePublic(secret));
  BULLA_FAULT_LIVE("its point", &point, sizeof point);
  BULLA_FAULT_STAGE("its point is derived");
  made.header = {id, dek.id, signer.Compress(point)};
  BULLA_FAULT_STAGE("its point is compressed");
  BULLA_ASSIGN_OR_RETURN(Address20 address, AddressOf(made.header.public_key));
  BULLA_FAULT_LIVE("its address", &address, sizeof address);
  BULLA_FAULT_STAGE("it has an address");
  BULLA_ASSIGN_OR_RETURN(const Bytes sealed, SealKey(dek.key, made.header, secret));
  std::ranges::copy(sealed, made.blob.begin());
  made.address = ToEip55(address);
  BULLA_FAULT_GONE(&secret);
  BULLA_FAULT_GONE(&point);
  BULLA_FAULT_GONE(&address);
  BULLA_FAULT_GONE(&made.header);
  BULLA_FAULT_GONE(&dek.key);
  return made;
}

absl::StatusOr<OpenedKey> CheckNewKey(const Signer& signer, const DekLease& dek, const KeyId& id,
                                      const NewKey& key) {
  BULLA_FAULT_LIVE("what is known of the key", &key.header, sizeof key.header);
  BULLA_FAULT_LIVE("blob", &key.blob, sizeof key.blob);
  BULLA_FAULT_LIVE("address", key.address.data(), key.address.size());
  BULLA_FAULT_STAGE("a key is to be checked");
  // Copied once, and compared in the end: what was opened is what leaves.
  const SealedBlob blob = key.blob;
  BULLA_FAULT_LIVE("copy of the blob", &blob, sizeof blob);
  BULLA_ASSIGN_OR_RETURN(OpenedKey opened, OpenSealedKey(dek.key, blob, id, signer));
  BULLA_FAULT_LIVE("key that was opened", &opened.key, sizeof opened.key);
  BULLA_FAULT_LIVE("its point", &opened.point, sizeof opened.point);
  BULLA_FAULT_STAGE("the blob is opened");
  Digest32 digest;
  FillRandom(digest);
  RecoverableSignature signature;
  const bool is_signed = signer.Sign(opened.key, opened.point, digest, &signature);
  BULLA_FAULT_STAGE("the key has signed");
  const absl::StatusOr<Address20> address = AddressOf(key.header.public_key);
  const absl::StatusOr<SealedKeyHeader> sealed = ParseSealedKey(blob);
  const bool holds = is_signed && VerifySignature(key.header.public_key, digest, signature.rs) &&
                     address.ok() && ToEip55(*address) == key.address && blob == key.blob &&
                     sealed.ok() && *sealed == key.header && key.header.dek_id == dek.id;
  BULLA_FAULT_GONE(&blob);
  BULLA_FAULT_GONE(&key.header);
  BULLA_FAULT_GONE(&key.blob);
  BULLA_FAULT_GONE(key.address.data());
  BULLA_FAULT_GONE(&opened.key);
  BULLA_FAULT_GONE(&opened.point);
  if (!holds)
    return absl::DataLossError("new key: blob, public key and address are not of one key");
  return opened;
}

}  // namespace bulla
