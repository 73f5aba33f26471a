// Sends traces, metrics and logs with the official OpenTelemetry SDK for Node.
//
// A gauge, `queue.depth`, is calm at first, then jumps, then is calm again. What was acknowledged is
// printed as one line of JSON, {"spans":N,"metric_exports":N,"logs":N}. The exit code is 1 when an
// export failed or when the SDK complained of anything, partial success included.
//
// With --ledger N it sends N entries instead, at once: for each a span of its own name, a count in a
// series of its own, and a log record.

import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { context, diag, DiagLogLevel, SpanKind, trace } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';

const CALM_DEPTH = 100;
const DISTURBED_DEPTH = 500;
const SPANS_PER_SECOND = 10;

const { values: options } = parseArgs({
  options: {
    endpoint: { type: 'string' }, // base address, http://host:port
    protocol: { type: 'string', default: 'grpc' },
    service: { type: 'string' },
    ledger: { type: 'string', default: '0' }, // send so many entries and nothing else
    calm: { type: 'string', default: '0' }, // seconds before the jump
    disturbed: { type: 'string', default: '0' }, // seconds of the jump
    recovery: { type: 'string', default: '0' }, // calm seconds after it
    interval: { type: 'string', default: '1000' }, // export interval in ms
  },
});

function seconds(name) {
  const value = Number(options[name]);
  if (!(value >= 0)) usage(`--${name}: expected seconds, got ${options[name]}`);
  return value;
}

function usage(fault) {
  console.error(fault);
  process.exit(2);
}

if (!options.endpoint) usage('--endpoint: expected http://host:port');
if (!options.service) usage('--service: expected a name');
if (!['grpc', 'http/protobuf'].includes(options.protocol)) {
  usage(`--protocol: expected grpc or http/protobuf, got ${options.protocol}`);
}
const calm = seconds('calm');
const disturbed = seconds('disturbed');
const recovery = seconds('recovery');
const interval = Number(options.interval);
if (!(interval >= 100)) usage(`--interval: expected at least 100 ms, got ${options.interval}`);

const counts = { spans: 0, metric_exports: 0, logs: 0 };
const failures = [];

/** Counts the results of an exporter under `name`. */
function watched(exporter, name, size) {
  const send = exporter.export.bind(exporter);
  exporter.export = (batch, done) =>
    send(batch, result => {
      if (result.code === 0) counts[name] += size(batch);
      else failures.push(`export of ${name}: ${result.error?.message ?? 'failed'}`);
      done(result);
    });
  return exporter;
}

const complain = (...words) => failures.push(words.map(String).join(' '));
const ignore = () => {};
diag.setLogger(
  { error: complain, warn: complain, info: ignore, debug: ignore, verbose: ignore },
  { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
);

async function exporters() {
  const kind = options.protocol === 'grpc' ? 'grpc' : 'proto';
  const load = async (signal, exporter) => (await import(`@opentelemetry/exporter-${signal}-otlp-${kind}`))[exporter];
  const [Spans, Metrics, Logs] = await Promise.all([
    load('trace', 'OTLPTraceExporter'),
    load('metrics', 'OTLPMetricExporter'),
    load('logs', 'OTLPLogExporter'),
  ]);
  const to = signal => ({
    url: kind === 'grpc' ? options.endpoint : `${options.endpoint}/v1/${signal}`,
    timeoutMillis: 5000,
  });
  return [
    watched(new Spans(to('traces')), 'spans', spans => spans.length),
    watched(new Metrics(to('metrics')), 'metric_exports', () => 1),
    watched(new Logs(to('logs')), 'logs', logs => logs.length),
  ];
}

const [spanExporter, metricExporter, logExporter] = await exporters();
const resource = resourceFromAttributes({
  'service.name': options.service,
  'service.instance.id': `${options.service}-1`,
});
const tracers = new BasicTracerProvider({
  resource,
  spanProcessors: [new BatchSpanProcessor(spanExporter, { scheduledDelayMillis: interval })],
});
const loggers = new LoggerProvider({
  resource,
  processors: [new BatchLogRecordProcessor({ exporter: logExporter, scheduledDelayMillis: interval })],
});
const meters = new MeterProvider({
  resource,
  readers: [new PeriodicExportingMetricReader({ exporter: metricExporter, exportIntervalMillis: interval })],
});

const begin = performance.now();
const elapsed = () => (performance.now() - begin) / 1000;

// Seeded noise in [0, 1), so that every run sends the same numbers (mulberry32).
let state = 1;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

const meter = meters.getMeter('client-test');
const tracer = tracers.getTracer('client-test');
const logger = loggers.getLogger('client-test');

/** Sends entries 0 to `count`; the number of each is the value of its series, less one. */
function enter(count) {
  const entries = meter.createCounter('ledger.entries', {
    unit: '{entry}',
    description: 'Number of the entry, plus one.',
  });
  for (let number = 0; number < count; number++) {
    const entry = String(number).padStart(4, '0');
    tracer.startSpan(`entry ${entry}`).end();
    entries.add(number + 1, { id: entry });
    logger.emit({ severityNumber: SeverityNumber.INFO, severityText: 'INFO', body: `entry ${entry}` });
  }
}

/** Works at an even pace until all phases are over. */
async function play() {
  meter.createObservableGauge('queue.depth', { unit: '{job}', description: 'Jobs waiting.' }).addCallback(result => {
    const sinceCalm = elapsed() - calm;
    const level = sinceCalm >= 0 && sinceCalm < disturbed ? DISTURBED_DEPTH : CALM_DEPTH;
    result.observe(level + 4 * (random() - 0.5), { queue: 'jobs' });
  });
  const jobs = meter.createCounter('jobs.processed', { unit: '{job}', description: 'Jobs done.' });
  const durations = meter.createHistogram('job.duration', { unit: 's', description: 'Duration of a job.' });
  while (elapsed() < calm + disturbed + recovery) {
    const span = tracer.startSpan('process job', { kind: SpanKind.CONSUMER });
    logger.emit({
      severityNumber: SeverityNumber.INFO,
      severityText: 'INFO',
      body: 'job processed',
      context: trace.setSpan(context.active(), span),
    });
    jobs.add(1);
    durations.record(0.018 + 0.004 * random());
    span.end();
    await sleep(1000 / SPANS_PER_SECOND);
  }
}

const ledger = Number(options.ledger);
if (ledger > 0) enter(ledger);
else await play();

for (const provider of [tracers, meters, loggers]) {
  await provider.shutdown().catch(error => failures.push(`shutdown: ${error.message}`));
}

console.log(JSON.stringify(counts));
for (const [name, count] of Object.entries(counts)) {
  if (count === 0) failures.push(`${name}: nothing was acknowledged`);
}
for (const failure of failures) console.error(failure);
process.exitCode = failures.length > 0 ? 1 : 0;
