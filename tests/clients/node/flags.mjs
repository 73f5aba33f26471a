// Follows the level with the official OpenFeature SDKs for Node and for the web, and their OFREP providers.
//
// Evaluates flags, then pins the level of a service to 3 and waits until the flags say so: the provider for
// servers asks each time, the one for the web is told by server-sent events. Then asks too often, and waits until it is
// answered again. Prints one line of JSON with what was seen; the exit code is 1 when something is not as it should be.

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { EventSource } from 'eventsource';
import { OpenFeature as Server } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { OpenFeature as Web, ProviderEvents } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

const { values: options } = parseArgs({ options: { endpoint: { type: 'string' }, service: { type: 'string' } } });
const { endpoint, service } = options;
const context = { targetingKey: 'node', service: { name: service } };

// What browsers have by themselves.
globalThis.EventSource = EventSource;

async function pin(level) {
  const expiresAt = new Date(Date.now() + 300_000).toISOString();
  const response = await fetch(`${endpoint}/api/v1/degradation/pin`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ level, author: 'test', reason: 'a drill', service, expiresAt }),
  });
  assert.equal(response.status, 200, await response.text());
}

async function until(holds, otherwise = 'the pinned level is not seen') {
  const began = performance.now();
  while (!(await holds())) {
    assert.ok(performance.now() - began < 10_000, otherwise);
    await sleep(20);
  }
  return performance.now() - began;
}

await Server.setProviderAndWait(new OFREPProvider({ baseUrl: endpoint }));
const server = Server.getClient();
const level = await server.getNumberDetails('degradation-level', -1, context);
assert.deepEqual([level.value, level.variant, level.reason], [0, 'full-service', 'TARGETING_MATCH']);
assert.equal(await server.getBooleanValue('writes', false, context), true);
assert.equal(await server.getNumberValue('degradation-level', -1), 0);
const unknown = await server.getBooleanDetails('no-such-flag', true, context);
assert.deepEqual([unknown.value, unknown.errorCode], [true, 'FLAG_NOT_FOUND']);

await Web.setContext(context);
await Web.setProviderAndWait(new OFREPWebProvider({ baseUrl: endpoint, cacheMode: 'disabled' }));
const web = Web.getClient();
assert.equal(web.getNumberValue('degradation-level', -1), 0);
assert.equal(web.getBooleanValue('writes', false), true);
let changes = 0;
web.addHandler(ProviderEvents.ConfigurationChanged, () => (changes += 1));
// The stream is open once its first event has come, which changes nothing.
await sleep(500);

await pin(3);
const server_ms = await until(async () => (await server.getNumberValue('degradation-level', -1, context)) === 3);
const web_ms = await until(() => web.getNumberValue('degradation-level', -1) === 3);
assert.ok(changes > 0, 'the provider for the web does not say that something changed');
assert.equal(web.getBooleanValue('writes', true), false);
const details = web.getNumberDetails('degradation-level', -1);
assert.deepEqual([details.variant, details.flagMetadata.pinnedBy], ['read-only', 'test']);

// Whoever asks too often is told so, and its provider asks nothing until it may.
let is_asking = true;
async function ask() {
  while (is_asking) {
    const response = await fetch(`${endpoint}/ofrep/v1/evaluate/flags`, { method: 'POST', body: '{}' });
    assert.ok(response.ok || (response.status === 429 && Number(response.headers.get('retry-after')) >= 1));
    await response.arrayBuffer();
  }
}
const crowd = [ask(), ask(), ask(), ask()];
const evaluate = () => server.getNumberDetails('degradation-level', -1, context);
await until(async () => (await evaluate()).errorCode !== undefined, 'nobody is refused');
is_asking = false;
await Promise.all(crowd);
const paused = await evaluate();
assert.equal(paused.value, -1);
assert.match(paused.errorMessage, /paused due to TooManyRequests/);
await until(async () => (await evaluate()).value === 3, 'nothing is answered any more');

console.log(JSON.stringify({ server_ms: Math.round(server_ms), web_ms: Math.round(web_ms) }));
process.exit(0);
