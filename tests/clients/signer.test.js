// Does code that we did not write accept what Bulla signs? 100 keys and 10,000 signatures over each
// protocol, every one judged by @noble/curves and ethers.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';

import grpc from '@grpc/grpc-js';

import {
  call, healthClient, servicesByReflection, signerFromProto, signerFromReflection,
} from './grpc.js';
import { digestOf, hex, judgeDer, judgeKey, judgeSignature, unhex } from './judge.js';
import { forEachOf, startService } from './service.js';

const KEYS = 100;
const SIGNATURES = 10_000;
const CONCURRENCY = 32;
const BATCH = 100; // items of a batch or a stream's message

let service;
let signer;
const agent = new http.Agent({ keepAlive: true, maxSockets: CONCURRENCY });

before(async () => {
  service = await startService();
  signer = signerFromProto(service.grpc);
});
after(async () => {
  signer?.close();
  agent.destroy();
  await service?.stop();
});

// POSTs JSON; resolves to {status, headers, body}.
function post(path, body, headers = {}) {
  const [host, port] = service.http.split(':');
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        host, port, path, method: 'POST', agent,
        headers: { 'Content-Type': 'application/json', ...headers },
      },
      (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('end', () => resolve({
          status: response.statusCode,
          headers: response.headers,
          body: JSON.parse(Buffer.concat(chunks).toString()),
        }));
      });
    request.on('error', reject);
    request.end(JSON.stringify(body));
  });
}

async function createOverHttp(headers) {
  const { status, body } = await post('/create', {}, headers);
  assert.equal(status, 200, JSON.stringify(body));
  return { ...body, publicKey: unhex(body.publicKey) };
}

function judgeHttpSignature(key, digest, body) {
  judgeSignature(key, digest, unhex(body.signature), body.recoveryId);
}

describe('HTTP', () => {
  const keys = [];

  test(`${KEYS} keys have the addresses that ethers derives`, async () => {
    await forEachOf(KEYS, CONCURRENCY, async () => keys.push(await createOverHttp()));
    keys.forEach(judgeKey);
    assert.equal(new Set(keys.map((key) => key.address)).size, KEYS);
  });

  test(`${SIGNATURES - 2000} signatures verify, are low-S and recover to the address`, async () => {
    await forEachOf(SIGNATURES - 2000, CONCURRENCY, async (i) => {
      const key = keys[i % KEYS];
      const digest = digestOf(i);
      const { status, body } = await post('/sign', { keyId: key.keyId, digest: hex(digest) });
      assert.equal(status, 200, JSON.stringify(body));
      judgeHttpSignature(key, digest, body);
    });
  });

  test(`so do 2000 in batches of ${BATCH}`, async () => {
    await forEachOf(2000 / BATCH, 4, async (batch) => {
      const items = Array.from({ length: BATCH }, (_, j) => ({
        key: keys[(batch * BATCH + j) % KEYS], digest: digestOf(`batch ${batch} ${j}`),
      }));
      const { status, body } = await post('/sign/batch', {
        items: items.map(({ key, digest }) => ({ keyId: key.keyId, digest: hex(digest) })),
      });
      assert.equal(status, 200, JSON.stringify(body).slice(0, 300));
      assert.equal(body.results.length, BATCH);
      body.results.forEach((result, j) => {
        judgeHttpSignature(items[j].key, items[j].digest, result);
      });
    });
  });

  test('the DER form holds the same r and s', async () => {
    const digest = hex(digestOf('der'));
    const { body } = await post('/sign', { keyId: keys[0].keyId, digest, der: true });
    judgeDer(unhex(body.der), unhex(body.signature));
  });

  test('a digest signed twice gives the same signature (RFC 6979)', async () => {
    const request = { keyId: keys[1].keyId, digest: hex(digestOf('twice')) };
    const [first, second] = [await post('/sign', request), await post('/sign', request)];
    assert.equal(first.status, 200);
    assert.deepEqual(first.body, second.body);
  });

  test('a repeated Idempotency-Key returns the same key', async () => {
    const headers = { 'Idempotency-Key': 'clients-test-1' };
    const same = await Promise.all(Array.from({ length: 8 }, () => createOverHttp(headers)));
    assert.equal(new Set(same.map((key) => key.keyId)).size, 1);
  });

  test('a request id is echoed, and made when there is none', async () => {
    const echoed = await post('/create', {}, { 'X-Request-Id': 'from-the-test' });
    assert.equal(echoed.headers['x-request-id'], 'from-the-test');
    const made = await post('/create', {});
    assert.ok(made.headers['x-request-id'].length > 0);
  });
});

describe('gRPC', () => {
  const keys = [];

  test(`${KEYS} keys have the addresses that ethers derives`, async () => {
    await forEachOf(KEYS, CONCURRENCY, async () => keys.push(await call(signer, 'create', {})));
    keys.forEach(judgeKey);
  });

  test(`${SIGNATURES / 2} unary signatures verify, are low-S, recover to the address`, async () => {
    await forEachOf(SIGNATURES / 2, CONCURRENCY, async (i) => {
      const key = keys[i % KEYS];
      const digest = digestOf(`unary ${i}`);
      const reply = await call(signer, 'sign', { keyId: key.keyId, digest });
      judgeSignature(key, digest, reply.signature, reply.recoveryId);
    });
  });

  test(`so do ${SIGNATURES / 2} on one stream`, async () => {
    const total = SIGNATURES / 2;
    const unanswered = new Map();
    const stream = signer.signStream({ deadline: Date.now() + 300_000 });
    const ended = new Promise((resolve, reject) => {
      stream.on('end', resolve);
      stream.on('error', reject);
    });
    let sent = 0;
    const sendBatch = () => {
      const items = [];
      while (sent < total && items.length < BATCH) {
        const { keyId } = keys[sent % KEYS];
        const item = { ref: sent, keyId, digest: digestOf(`stream ${sent}`) };
        unanswered.set(sent++, item);
        items.push(item);
      }
      if (items.length > 0) stream.write({ items });
      else stream.end();
    };
    stream.on('data', ({ results }) => {
      for (const { ref, ok, error } of results) {
        const item = unanswered.get(ref);
        assert.ok(item, `ref ${ref} was answered twice or never asked`);
        assert.ok(ok, JSON.stringify(error));
        unanswered.delete(ref);
        judgeSignature(keys[ref % KEYS], item.digest, ok.signature, ok.recoveryId);
      }
      // The next message when the one before is answered: what is under way stays bounded.
      if (unanswered.size === 0) sendBatch();
    });
    sendBatch();
    await ended;
    assert.equal(sent, total);
    assert.equal(unanswered.size, 0);
  });

  test('both protocols give the same signature, and the same key', async () => {
    const digest = digestOf('both protocols');
    const overGrpc = await call(signer, 'sign', { keyId: keys[0].keyId, digest, der: true });
    const { body } = await post('/sign', { keyId: keys[0].keyId, digest: hex(digest), der: true });
    assert.equal(hex(overGrpc.signature), body.signature);
    assert.equal(hex(overGrpc.der), body.der);
    const fetched = await call(signer, 'getKey', { keyId: keys[0].keyId });
    assert.equal(fetched.address, keys[0].address);
    assert.equal(fetched.status, 'ENABLED');
  });

  test('a client built from server reflection alone makes a key and signs', async () => {
    assert.ok((await servicesByReflection(service.grpc)).includes('bulla.v1.Signer'));
    const reflected = await signerFromReflection(service.grpc);
    // A descriptor has the names of the .proto file, in snake_case.
    const made = await call(reflected, 'create', {});
    const key = { keyId: made.key_id, publicKey: made.public_key, address: made.address };
    judgeKey(key);
    const digest = digestOf('reflection');
    const reply = await call(reflected, 'sign', { key_id: key.keyId, digest });
    judgeSignature(key, digest, reply.signature, reply.recovery_id);
    reflected.close();
  });

  test('the standard health service says SERVING', async () => {
    const client = healthClient(service.grpc);
    const SERVING = 1;
    assert.equal((await call(client, 'check', { service: '' })).status, SERVING);
    client.close();
  });

  test('errors carry the name of the table', async () => {
    await assert.rejects(call(signer, 'sign', { keyId: keys[0].keyId, digest: Buffer.alloc(31) }),
      (error) => error.code === grpc.status.INVALID_ARGUMENT
        && /INVALID_ARGUMENT: /.test(error.details));
    await assert.rejects(
      call(signer, 'sign', {
        keyId: '01900000-0000-7000-8000-000000000000',
        digest: Buffer.alloc(32),
      }),
      (error) => error.code === grpc.status.NOT_FOUND && /INVALID_KEY: /.test(error.details));
    const metadata = new grpc.Metadata();
    metadata.set('tenant-id', 'a');
    await assert.rejects(call(signer, 'create', {}, metadata),
      (error) => error.code === grpc.status.INVALID_ARGUMENT);
  });
});
