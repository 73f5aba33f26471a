#!/usr/bin/env python3
"""Measures how soon a webhook tells of what has just been decided, while 20,000 points come in every second.

    benches/webhooks.py target/release/bellwether [SECONDS]

Sends 20,000 series once a second over OTLP/HTTP, and beside them a point twice a second that a rule without `for` fires
for, each time of another series. Prints quantiles of two times: from the evaluation that decided (`startsAt`) until the
webhook has come, and from the point until then, which holds the wait for the next evaluation (every second) too.
"""
import datetime, http.server, json, os, pathlib, re, subprocess, sys, tempfile, threading, time, urllib.request

REQUESTS, SERIES, PROBES = 20, 1_000, 2
CONFIG = """listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}
rule_files: [rules.yaml]
receivers: [{name: ops, webhook_configs: [{url: 'http://127.0.0.1:%d/'}]}]
"""
RULES = """groups:
- {name: probes, interval: 1s, rules: [{alert: Probe, expr: probe > 0}]}
"""
TIME = "@TIME@"


class Sink(http.server.BaseHTTPRequestHandler):
    """Notes when it was told of each probe, and since when that has fired."""
    told = {}

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        now = time.time()
        for alert in body["alerts"]:
            since = datetime.datetime.fromisoformat(alert["startsAt"].replace("Z", "+00:00")).timestamp()
            self.told.setdefault(alert["labels"]["number"], (now, since))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def request(service, name, points):
    metrics = [{"name": name, "gauge": {"dataPoints": points}}]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return json.dumps({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]})


def point(attribute, value, number):
    attributes = [{"key": attribute, "value": {"stringValue": value}}]
    return {"timeUnixNano": TIME, "asDouble": number, "attributes": attributes}


def send(base, text):
    body = text.replace(TIME, str(time.time_ns())).encode()
    urllib.request.urlopen(urllib.request.Request(base + "/v1/metrics", body, {"content-type": "application/json"})).read()


def start(binary, directory):
    process = subprocess.Popen([binary, "--config", directory / "bellwether.yaml", "--data-dir", directory / "data"],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env=os.environ | {"NO_COLOR": "1"})
    log = ""
    for line in process.stdout:
        log += line
        found = re.search(r"OTLP/HTTP\s+http://(\S+)", log)
        if found and "page, REST" in line:
            threading.Thread(target=lambda: [None for _ in process.stdout], daemon=True).start()
            return process, "http://" + found.group(1)
    sys.exit("it did not start:\n" + log)


def quantiles(what, values):
    values = sorted(values)
    at = lambda share: values[min(len(values) - 1, int(share * len(values)))]
    print(f"{what}: median {at(0.5):.3f} s, p99 {at(0.99):.3f} s, longest {values[-1]:.3f} s", flush=True)


def main(binary, seconds="120"):
    sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        (directory / "bellwether.yaml").write_text(CONFIG % sink.server_port)
        (directory / "rules.yaml").write_text(RULES)
        process, base = start(binary, directory)
        texts = [request(f"s{i}", "load", [point("n", f"{i}-{j}", j) for j in range(SERIES)]) for i in range(REQUESTS)]
        sent, began, late = {}, time.monotonic(), 0.0
        for turn in range(int(seconds) * REQUESTS):
            due = began + turn / REQUESTS
            time.sleep(max(0.0, due - time.monotonic()))
            late = max(late, time.monotonic() - due)
            send(base, texts[turn % REQUESTS])
            if turn % (REQUESTS // PROBES) == 0:
                number = str(turn)
                sent[number] = time.time()
                send(base, request("prober", "probe", [point("number", number, 1)]))
        time.sleep(5)
        process.terminate()
        process.wait()
    lost = [number for number in sent if number not in Sink.told]
    print(f"{len(sent)} probes, {len(lost)} not told; the generator was at most {late:.2f} s late; load average "
          f"{os.getloadavg()[0]:.1f}")
    told = {number: Sink.told[number] for number in sent if number in Sink.told}
    quantiles("decision to webhook", [now - since for now, since in told.values()])
    quantiles("point to webhook", [now - sent[number] for number, (now, _) in told.items()])


if __name__ == "__main__":
    main(*sys.argv[1:])
