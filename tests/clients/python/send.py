"""Sends traces, metrics and logs with the official OpenTelemetry Python SDK.

A gauge, `queue.depth`, is calm at first, then jumps, then is calm again. What was acknowledged is
printed as one line of JSON, `{"spans": N, "metric_exports": N, "logs": N}`. The exit code is 1 when
an export failed or when the SDK complained of anything.

With `--ledger N` it sends N entries instead, at once: for each a span of its own name, a count in a
series of its own, and a log record.
"""

import argparse
import json
import logging
import random
import sys
import threading
import time

from opentelemetry._logs import SeverityNumber
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

CALM_DEPTH = 100.0
DISTURBED_DEPTH = 500.0
SPANS_PER_SECOND = 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True, help="base address, http://host:port")
    parser.add_argument("--protocol", choices=["grpc", "http/protobuf"], default="grpc")
    parser.add_argument("--service", required=True, help="service.name")
    parser.add_argument("--ledger", type=int, help="send so many entries and nothing else")
    parser.add_argument("--calm", type=float, default=0.0, help="seconds before the jump")
    parser.add_argument("--disturbed", type=float, default=0.0, help="seconds of the jump")
    parser.add_argument("--recovery", type=float, default=0.0, help="calm seconds after it")
    parser.add_argument("--interval", type=int, default=1000, help="export interval in ms")
    return parser.parse_args()


class Account:
    """Counts what the exporters acknowledged, and keeps what went wrong."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = {"spans": 0, "metric_exports": 0, "logs": 0}
        self.failures = []

    def watch(self, exporter_class, name, size):
        """The same exporter, with its results counted under `name`."""
        account = self

        class Watched(exporter_class):
            def export(self, batch, *args, **kwargs):
                result = super().export(batch, *args, **kwargs)
                with account.lock:
                    if result.name == "SUCCESS":
                        account.counts[name] += size(batch)
                    else:
                        account.failures.append(f"export of {name}: {result.name}")
                return result

        return Watched


class Complaints(logging.Handler):
    """What the SDK logs at warning or above is a failure here: retries, drops, refused items."""

    def __init__(self, account):
        super().__init__(logging.WARNING)
        self.account = account

    def emit(self, record):
        with self.account.lock:
            self.account.failures.append(f"{record.name}: {record.getMessage()}")


def exporters(options, account):
    """Exporters of spans, metrics and logs for the wanted protocol."""
    if options.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        to = lambda _: {"endpoint": options.endpoint, "insecure": True, "timeout": 5}
    else:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        to = lambda signal: {"endpoint": f"{options.endpoint}/v1/{signal}", "timeout": 5}
    return (
        account.watch(OTLPSpanExporter, "spans", len)(**to("traces")),
        account.watch(OTLPMetricExporter, "metric_exports", lambda _: 1)(**to("metrics")),
        account.watch(OTLPLogExporter, "logs", len)(**to("logs")),
    )


def play(options, tracer, logger, jobs, durations):
    """Works at an even pace until all phases are over."""
    rng = random.Random(1)
    end = time.monotonic() + options.calm + options.disturbed + options.recovery
    while time.monotonic() < end:
        started = time.time_ns()
        with tracer.start_as_current_span("process job", kind=SpanKind.CONSUMER):
            logger.emit(
                timestamp=started,
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                body="job processed",
            )
        jobs.add(1)
        durations.record(rng.uniform(0.018, 0.022))
        time.sleep(1 / SPANS_PER_SECOND)


def enter(count, tracer, logger, meter):
    """Sends entries 0 to `count`; the number of each is the value of its series, less one."""
    entries = meter.create_counter("ledger.entries", unit="{entry}", description="Number of the entry, plus one.")
    for number in range(count):
        entry = f"{number:04}"
        tracer.start_span(f"entry {entry}").end()
        entries.add(number + 1, {"id": entry})
        logger.emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body=f"entry {entry}",
        )


def main():
    options = arguments()
    account = Account()
    logging.getLogger("opentelemetry").addHandler(Complaints(account))
    spans, metrics, logs = exporters(options, account)
    resource = Resource({"service.name": options.service, "service.instance.id": f"{options.service}-1"})
    begin = time.monotonic()
    noise = random.Random(2)

    def depth(_):
        since_calm = time.monotonic() - begin - options.calm
        level = DISTURBED_DEPTH if 0 <= since_calm < options.disturbed else CALM_DEPTH
        yield Observation(level + noise.uniform(-2, 2), {"queue": "jobs"})

    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=options.interval))
    loggers = LoggerProvider(resource=resource)
    loggers.add_log_record_processor(BatchLogRecordProcessor(logs, schedule_delay_millis=options.interval))
    reader = PeriodicExportingMetricReader(metrics, export_interval_millis=options.interval)
    meters = MeterProvider(metric_readers=[reader], resource=resource)
    meter = meters.get_meter("client-test")
    tracer, logger = tracers.get_tracer("client-test"), loggers.get_logger("client-test")
    if options.ledger:
        enter(options.ledger, tracer, logger, meter)
    else:
        meter.create_observable_gauge("queue.depth", callbacks=[depth], unit="{job}", description="Jobs waiting.")
        jobs = meter.create_counter("jobs.processed", unit="{job}", description="Jobs done.")
        durations = meter.create_histogram("job.duration", unit="s", description="Duration of a job.")
        play(options, tracer, logger, jobs, durations)
    for provider in (tracers, meters, loggers):
        provider.shutdown()

    print(json.dumps(account.counts), flush=True)
    for name, count in account.counts.items():
        if count == 0:
            account.failures.append(f"{name}: nothing was acknowledged")
    for failure in account.failures:
        print(failure, file=sys.stderr)
    return 1 if account.failures else 0


if __name__ == "__main__":
    sys.exit(main())
