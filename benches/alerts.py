#!/usr/bin/env python3
"""Measures 10,000 alerts that change state at once, and /api/v2/alerts beside 100,000 silences.

    benches/alerts.py target/release/bellwether

Prints how long it takes until all alerts are on disk and their 100 notifications in the outbox (to fire, and to be
resolved), and how long GET /api/v2/alerts takes without silences and with 100,000 that do not match. Silences are
written into the ledger between two starts, since only their number matters. Then a rule fires for 10,000 series and
ceases to: from the points to the outbox, and of that since the first decision.
"""
import json, os, pathlib, re, sqlite3, subprocess, sys, tempfile, threading, time, urllib.request

ALERTS, SERVICES, SILENCES, ROUNDS = 10_000, 100, 100_000, 20
CONFIG = """listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}
receivers: [{name: ops, webhook_configs: [{url: 'http://127.0.0.1:9/'}]}]
route: {receiver: ops, group_by: [service, zone], group_wait: 0s, group_interval: 1s}
rule_files: [rules.yaml]
"""
RULES = """groups: [{name: g, interval: 1s, rules: [{alert: Storm, expr: storm > 0, labels: {severity: critical},
  annotations: {summary: slow}}]}]
"""


class Service:
    def __init__(self, binary, directory):
        self.process = subprocess.Popen([binary, "--config", directory / "bellwether.yaml", "--data-dir", directory / "data"],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        env=os.environ | {"NO_COLOR": "1"})
        log = ""
        for line in self.process.stdout:
            log += line
            found = re.search(r"(OTLP/HTTP|page, REST)\s+http://(\S+)", line)
            if found and found.group(1) == "OTLP/HTTP":
                self.otlp = "http://" + found.group(2)
            elif found:
                self.base = "http://" + found.group(2)
                break
        else:
            sys.exit("it did not start:\n" + log)
        # So that it never waits for somebody to read.
        threading.Thread(target=lambda: [None for _ in self.process.stdout], daemon=True).start()

    def cpu(self):
        """Seconds that it has computed: on a machine that others use, time on the clock says little."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def post(self, alerts):
        body = json.dumps(alerts).encode()
        request = urllib.request.Request(self.base + "/api/v2/alerts", body, {"content-type": "application/json"})
        began, cpu = time.monotonic(), self.cpu()
        urllib.request.urlopen(request).read()
        return f"{time.monotonic() - began:.2f} s ({self.cpu() - cpu:.2f} s of a processor)"

    def get(self, path):
        began = time.monotonic()
        body = urllib.request.urlopen(self.base + path).read()
        return time.monotonic() - began, body

    def stop(self):
        self.process.terminate()
        self.process.wait()


def ask(directory, sql):
    with sqlite3.connect(f"file:{ledger(directory)}?mode=ro", uri=True) as connection:
        return connection.execute(sql).fetchall()


def told(directory):
    return ask(directory, "SELECT announced, count(*) FROM outbox GROUP BY 1 ORDER BY 1")


def rule(service, directory, value, state):
    """Gives all series a value until the rule's alerts are in this state, and told so."""
    began, cpu, sent, done = time.monotonic(), service.cpu(), 0, False
    newest, after = time.time_ns(), ask(directory, "SELECT max(row) FROM outbox")[0][0]
    known = f"SELECT count(*) FROM alerts WHERE name = 'Storm' AND state = '{state}'"
    while not done:
        # Time goes on, and the rule is looked at again.
        if time.monotonic() - began >= sent:
            points = [{"timeUnixNano": str(time.time_ns()), "asDouble": value,
                       "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in labels]}
                      for labels in ((("zone", f"z{i % SERVICES}"), ("instance", f"i{i}")) for i in range(ALERTS))]
            body = json.dumps({"resourceMetrics": [{"resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": "shop"}}]},
                "scopeMetrics": [{"metrics": [{"name": "storm", "gauge": {"dataPoints": points}}]}]}]}).encode()
            if sent == 0:
                began, cpu = time.monotonic(), service.cpu()
            urllib.request.urlopen(urllib.request.Request(service.otlp + "/v1/metrics", body,
                                                          {"content-type": "application/json"})).read()
            sent += 1
        done = ask(directory, known)[0][0] == ALERTS
        newest = time.time_ns()
    count, first = ask(directory, f"SELECT count(*), min(created_at) FROM outbox WHERE row > {after or 0}")[0]
    print(f"a rule of {ALERTS} series, {state}: {time.monotonic() - began:.2f} s ({service.cpu() - cpu:.2f} s of a "
          f"processor) from the points, {(newest - first) / 1e9:.2f} s since the first decision, {count} notifications", flush=True)


def ledger(directory):
    return next(path for path in (directory / "data").rglob("*") if path.is_file() and path.read_bytes()[:6] == b"SQLite")


def report(service, what):
    cpu = service.cpu()
    times = sorted(service.get("/api/v2/alerts")[0] for _ in range(ROUNDS))
    cpu = (service.cpu() - cpu) / ROUNDS
    size = len(service.get("/api/v2/alerts")[1])
    print(f"GET /api/v2/alerts, {what}: {times[ROUNDS // 2] * 1e3:.0f} ms median, {times[0] * 1e3:.0f} to "
          f"{times[-1] * 1e3:.0f} ms, {cpu * 1e3:.0f} ms of a processor, {size / 1e6:.1f} MB", flush=True)


def silences(directory):
    with sqlite3.connect(ledger(directory)) as connection:
        known = connection.execute("SELECT id, ends_at, updated_at, body FROM silences").fetchone()
        body = json.loads(known[3])
        rows = []
        for i in range(SILENCES - 1):
            new = json.dumps(body | {"id": f"{i:08x}-0000-4000-8000-000000000000"})
            rows.append((f"{i:08x}-0000-4000-8000-000000000000", known[1], known[2], new.replace("nobody-0", f"nobody-{i + 1}")))
        connection.executemany("INSERT INTO silences (id, ends_at, updated_at, body) VALUES (?, ?, ?, ?)", rows)


def main(binary):
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        (directory / "bellwether.yaml").write_text(CONFIG)
        (directory / "rules.yaml").write_text(RULES)
        service = Service(binary, directory)
        labels = [{"alertname": "A", "service": f"s{i % SERVICES}", "instance": f"i{i}", "severity": "critical"}
                  for i in range(ALERTS)]
        # Without an end they would be over after five minutes.
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        firing = [{"labels": of, "annotations": {"summary": "slow"}, "endsAt": ends} for of in labels]
        print(f"{ALERTS} alerts begin: {service.post(firing)}, outbox {told(directory)}", flush=True)
        report(service, "no silences")
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))
        silence = {"matchers": [{"name": "service", "value": "nobody-0", "isRegex": False, "isEqual": True}],
                   "startsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "endsAt": until, "createdBy": "bench",
                   "comment": "bench"}
        request = urllib.request.Request(service.base + "/api/v2/silences", json.dumps(silence).encode(),
                                         {"content-type": "application/json"})
        urllib.request.urlopen(request).read()
        service.stop()
        silences(directory)
        service = Service(binary, directory)
        count = len(json.loads(service.get("/api/v2/silences")[1]))
        report(service, f"{count} silences")
        over = [{"labels": of, "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2020-01-02T00:00:00Z"} for of in labels]
        print(f"{ALERTS} alerts end: {service.post(over)}, outbox {told(directory)}", flush=True)
        rule(service, directory, 1, "firing")
        rule(service, directory, 0, "resolved")
        service.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
