// What other people's libraries say about a signature.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';

import { secp256k1 } from '@noble/curves/secp256k1';
import { Signature, computeAddress, recoverAddress } from 'ethers';

export const seed = process.env.BULLA_TEST_SEED ?? String(Math.floor(Math.random() * 2 ** 32));
console.log(`BULLA_TEST_SEED=${seed}`);

// The i-th digest of a run.
export const digestOf = (i) => createHash('sha256').update(`${seed} ${i}`).digest();

export const hex = (bytes) => '0x' + Buffer.from(bytes).toString('hex');
export const unhex = (text) => {
  assert.match(text, /^0x([0-9a-f]{2})*$/);
  return Buffer.from(text.slice(2), 'hex');
};

// A key: {keyId, publicKey (33 bytes), address}.
export function judgeKey(key) {
  assert.match(key.keyId, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(key.publicKey.length, 33);
  assert.equal(computeAddress(hex(key.publicKey)), key.address);
}

// noble: it verifies and s is low. ethers: it recovers to the key's address.
export function judgeSignature(key, digest, signature, recoveryId) {
  assert.equal(signature.length, 64);
  assert.ok(secp256k1.verify(signature, digest, key.publicKey, { lowS: true }),
    `noble refuses a signature of key ${key.keyId} over ${hex(digest)}: ${hex(signature)}`);
  assert.ok(recoveryId >= 0 && recoveryId <= 3);
  const forEthers = Signature.from({
    r: hex(signature.subarray(0, 32)),
    s: hex(signature.subarray(32)),
    v: 27 + recoveryId,
  });
  assert.equal(recoverAddress(hex(digest), forEthers), key.address);
}

// noble parses the DER and finds the same r and s in it.
export function judgeDer(der, signature) {
  assert.deepEqual(
    Buffer.from(secp256k1.Signature.fromDER(Buffer.from(der)).toCompactRawBytes()),
    Buffer.from(signature));
}
