// Starts the real service for a test: `bulla dev` on free ports over a fresh data directory. The
// programs are looked for in $BULLA_BIN, else in build/release/bin.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..');
const programs = process.env.BULLA_BIN ?? path.join(root, 'build', 'release', 'bin');

// Returns {http, grpc, admin, stop}: addresses as HOST:PORT, once everything is ready.
export async function startService() {
  const data = await mkdtemp(path.join(tmpdir(), 'bulla-clients-'));
  const child = spawn(
    path.join(programs, 'bulla'),
    ['dev', '--json', '--data', data, '--http', '127.0.0.1:0', '--grpc', '127.0.0.1:0',
      '--admin', '127.0.0.1:0', '--enclaves', '2'],
    { stdio: ['ignore', 'pipe', 'pipe'] });
  let complaints = '';
  child.stderr.on('data', (text) => { complaints += text; });
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });

  const ready = new Promise((resolve) => {
    createInterface({ input: child.stdout }).once('line', (line) => resolve(JSON.parse(line)));
  });
  const first = await Promise.race([ready, ended]).catch((error) => ({ error: error.message }));
  if (!first.http) {
    await rm(data, { recursive: true, force: true });
    throw new Error(`bulla dev did not start (${JSON.stringify(first)}):\n${complaints}`);
  }
  return {
    ...first,
    async stop() {
      child.kill('SIGTERM');
      const { code } = await ended;
      await rm(data, { recursive: true, force: true });
      if (code !== 0) throw new Error(`bulla dev ended with ${code}:\n${complaints}`);
    },
  };
}

// Runs `work(i)` for i = 0..count-1, at most `concurrency` at a time.
export async function forEachOf(count, concurrency, work) {
  let next = 0;
  const worker = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
}
