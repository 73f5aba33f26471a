// Starts the shop beside a service of Bellwether, pins levels, and says what requests were answered with. Prints one
// line of JSON with the milliseconds that each change took; the exit code is 1 when something is not as it should be.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { endpoint: { type: 'string' }, service: { type: 'string' } } });
const { endpoint, service } = values;
const script = fileURLToPath(new URL('shop.mjs', import.meta.url));
const shop = spawn(process.execPath, [script, endpoint, service, '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
const [address] = await once(createInterface({ input: shop.stdout }), 'line');

function fail(what) {
  console.error(what);
  shop.kill();
  process.exit(1);
}

async function pin(level) {
  const expiresAt = new Date(Date.now() + 300_000).toISOString();
  const body = JSON.stringify({ level, author: 'test', reason: 'a drill', service, expiresAt });
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${endpoint}/api/v1/degradation/pin`, { method: 'PUT', headers, body });
  if (!answer.ok) fail(`pin: ${answer.status} ${await answer.text()}`);
}

async function answers(expected) {
  const began = performance.now();
  for (;;) {
    const seen = {};
    for (const request of Object.keys(expected)) {
      const [method, path] = request.split(' ');
      const answer = await fetch(address + path, { method });
      const text = await answer.text();
      seen[request] = `${answer.status} ${answer.headers.get('x-degradation-level')}`;
      if (answer.status === 503) {
        const problem = JSON.parse(text);
        const type = answer.headers.get('content-type');
        if (!type.startsWith('application/problem+json') || problem.status !== 503) fail(`${type}: ${text}`);
        if (answer.headers.get('retry-after') !== '30') fail('there is no Retry-After');
      }
    }
    if (JSON.stringify(seen) === JSON.stringify(expected)) return Math.round(performance.now() - began);
    if (performance.now() - began > 20_000) fail(`expected ${JSON.stringify(expected)}, got ${JSON.stringify(seen)}`);
    await new Promise((later) => setTimeout(later, 50));
  }
}

const times = {};
await answers({ 'GET /quotes': '200 0', 'POST /orders': '200 0', 'POST /emergency': '200 0' });
await pin(3);
times.readOnly = await answers({ 'GET /quotes': '200 3', 'POST /orders': '503 3', 'POST /emergency': '200 3' });
await pin(4);
times.emergency = await answers({ 'GET /quotes': '503 4', 'POST /orders': '503 4', 'POST /emergency': '200 4' });
await pin(0);
times.restored = await answers({ 'GET /quotes': '200 0', 'POST /orders': '200 0', 'POST /emergency': '200 0' });
console.log(JSON.stringify(times));
shop.kill();
