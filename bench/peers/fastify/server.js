// A signing service as a relayer is usually written in Node.js: Fastify, keys in a Map,
// libsecp256k1 through the native addon of npm's `secp256k1`.
//
// usage: node server.js [--port 8080] [--cluster] [--verify]
//   --port      0 takes a free one
//   --cluster   one process for each CPU that this one may use, keys copied to each
//   --verify    check each signature before it leaves, which relayers do not do
// Once it serves, one line: {"http":"HOST:PORT"}. SIGTERM ends it.

import cluster from 'node:cluster';
import { randomBytes, randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';

import { keccak_256 } from '@noble/hashes/sha3.js';
import Fastify from 'fastify';
// Its index falls back to JavaScript in silence where the addon does not load. This fails instead.
import secp256k1 from 'secp256k1/bindings.js';

const host = '127.0.0.1';
const { values: flags } = parseArgs({
  options: {
    port: { type: 'string', default: '8080' },
    cluster: { type: 'boolean', default: false },
    verify: { type: 'boolean', default: false },
  },
});

// Key id -> {secret, publicKey}.
const keys = new Map();

// EIP-55.
function addressOf(publicKey) {
  const point = secp256k1.publicKeyConvert(publicKey, false).subarray(1);
  const digits = Buffer.from(keccak_256(point).subarray(12)).toString('hex');
  const checksum = Buffer.from(keccak_256(Buffer.from(digits))).toString('hex');
  return '0x' + [...digits]
    .map((digit, i) => (parseInt(checksum[i], 16) >= 8 ? digit.toUpperCase() : digit))
    .join('');
}

function newKey() {
  let secret;
  do {
    secret = randomBytes(32);
  } while (!secp256k1.privateKeyVerify(secret));
  return { keyId: randomUUID(), secret, publicKey: secp256k1.publicKeyCreate(secret) };
}

function sign({ secret, publicKey }, digest) {
  const { signature, recid } = secp256k1.ecdsaSign(digest, secret);
  if (flags.verify && !secp256k1.ecdsaVerify(signature, digest, publicKey)) {
    throw new Error('the signature does not verify');
  }
  return { signature: '0x' + Buffer.from(signature).toString('hex'), recoveryId: recid };
}

const createSchema = {
  response: {
    200: {
      type: 'object',
      properties: {
        keyId: { type: 'string' },
        publicKey: { type: 'string' },
        address: { type: 'string' },
      },
    },
  },
};

const signSchema = {
  body: {
    type: 'object',
    required: ['keyId', 'digest'],
    properties: {
      keyId: { type: 'string' },
      digest: { type: 'string', pattern: '^(0x)?[0-9a-fA-F]{64}$' },
    },
  },
  response: {
    200: {
      type: 'object',
      properties: { signature: { type: 'string' }, recoveryId: { type: 'integer' } },
    },
  },
};

// `share(key)` resolves once every process has the key.
async function serve(share) {
  secp256k1.contextRandomize(randomBytes(32));
  const app = Fastify();

  app.post('/create', { schema: createSchema }, async () => {
    const key = newKey();
    await share(key);
    return {
      keyId: key.keyId,
      publicKey: '0x' + Buffer.from(key.publicKey).toString('hex'),
      address: addressOf(key.publicKey),
    };
  });

  app.post('/sign', { schema: signSchema }, (request, reply) => {
    const { keyId, digest } = request.body;
    const key = keys.get(keyId);
    if (key === undefined) return reply.code(404).send({ error: { code: 'INVALID_KEY' } });
    return reply.send(sign(key, Buffer.from(digest.slice(-64), 'hex')));
  });

  await app.listen({ port: Number(flags.port), host });
  return app.server.address().port;
}

function sayReady(port) {
  console.log(JSON.stringify({ http: `${host}:${port}` }));
}

// A worker gives its new key to the primary, which gives it to all workers and tells when they have
// it. Messages are {type, keyId, ...} in both directions.
function runPrimary() {
  const workers = Array.from({ length: availableParallelism() }, () => cluster.fork());
  const missing = new Map();  // key id -> {owner, count of workers that do not have it yet}
  let starting = workers.length;
  cluster.on('message', (worker, message) => {
    if (message.type === 'ready') {
      if (--starting === 0) sayReady(message.port);
    } else if (message.type === 'created') {
      missing.set(message.keyId, { owner: worker, count: workers.length });
      for (const each of workers) each.send({ ...message, type: 'key' });
    } else if (message.type === 'stored') {
      const entry = missing.get(message.keyId);
      if (--entry.count > 0) return;
      missing.delete(message.keyId);
      entry.owner.send({ type: 'shared', keyId: message.keyId });
    }
  });
  cluster.on('exit', () => process.exit(1));  // a worker that is gone is not replaced
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      for (const worker of workers) worker.process.kill('SIGTERM');
      process.exit(0);
    });
  }
}

async function runWorker() {
  const shared = new Map();  // key id -> what to call once all have it
  process.on('message', (message) => {
    if (message.type === 'key') {
      keys.set(message.keyId, {
        secret: Buffer.from(message.secret, 'hex'),
        publicKey: Buffer.from(message.publicKey, 'hex'),
      });
      process.send({ type: 'stored', keyId: message.keyId });
    } else if (message.type === 'shared') {
      shared.get(message.keyId)();
      shared.delete(message.keyId);
    }
  });
  const port = await serve(({ keyId, secret, publicKey }) => new Promise((resolve) => {
    shared.set(keyId, resolve);
    process.send({
      type: 'created',
      keyId,
      secret: secret.toString('hex'),
      publicKey: Buffer.from(publicKey).toString('hex'),
    });
  }));
  process.send({ type: 'ready', port });
}

if (!flags.cluster) {
  sayReady(await serve(async (key) => { keys.set(key.keyId, key); }));
} else if (cluster.isPrimary) {
  runPrimary();
} else {
  await runWorker();
}
