// An Express middleware that follows a level of Bellwether with nothing but the OpenFeature SDK and its OFREP provider.
//
// The provider asks the service for each evaluation, so the level is asked for once a second and kept. When it cannot
// be had, the last one holds for `keepFor`, and then full service: nobody is refused because nobody can be asked.

import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';

const NAMES = ['full-service', 'non-critical-off', 'cache-only', 'read-only', 'emergency-mode'];
const READS = ['GET', 'HEAD', 'OPTIONS'];
const PROBLEM = 'https://iana.org/assignments/http-problem-types#temporary-reduced-capacity';

/**
 * Begins to follow, and answers a middleware once the level is known or cannot be had.
 *
 * - `baseUrl`: REST of Bellwether, such as http://127.0.0.1:4320.
 * - `service`: whose level; that of everything when absent or not known.
 * - `keep`: paths (with what is below them) that are served at every level; of other paths writes are refused from
 *   level 3 on, and everything at level 4.
 * - `keepFor`, `askEvery`: milliseconds; `retryAfter`: seconds.
 */
export async function degradation({ baseUrl, service, keep = [], keepFor = 60_000, askEvery = 1_000, retryAfter = 30 }) {
  await OpenFeature.setProviderAndWait('bellwether', new OFREPProvider({ baseUrl, timeoutMs: 2_000 }));
  const client = OpenFeature.getClient('bellwether');
  const context = service ? { 'service.name': service } : {};
  const known = { level: 0, at: -Infinity };

  const ask = async () => {
    const { value, errorCode } = await client.getNumberDetails('degradation-level', 0, context);
    if (errorCode === undefined) {
      Object.assign(known, { level: value, at: performance.now() });
    }
  };
  const level = () => (performance.now() - known.at < keepFor ? known.level : 0);
  const timer = setInterval(() => ask().catch(() => {}), askEvery);
  timer.unref();
  await ask().catch(() => {});

  const isKept = (path) => keep.some((kept) => path === kept || path.startsWith(`${kept}/`));
  const middleware = (request, response, next) => {
    const now = level();
    response.set('X-Degradation-Level', String(now)).set('X-Service-Status', NAMES[now]);
    const isRefused = !isKept(request.path) && (now >= 4 || (now === 3 && !READS.includes(request.method)));
    if (!isRefused) {
      next();
      return;
    }
    const detail = `the service runs in ${NAMES[now]} mode and refuses this request for now`;
    response
      .status(503)
      .set('Retry-After', String(retryAfter))
      .type('application/problem+json')
      .send(JSON.stringify({ type: PROBLEM, title: 'Temporary Reduced Capacity', status: 503, detail }));
  };
  // Features by their flags, as in `await middleware.isOn('recommendations')`.
  middleware.isOn = (feature) => client.getBooleanValue(feature, true, context);
  middleware.stop = () => clearInterval(timer);
  return middleware;
}
