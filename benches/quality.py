#!/usr/bin/env python3
"""Measures what is found in a labelled set, sent to the real binary as OTLP and read from its REST API.

    benches/quality.py target/release/bellwether HARNESS DATA/nab [more sets]

HARNESS is the directory of `otlp_replay.py` and `score.py`, whose modules this Python has to have. Each set is sent to a fresh
service with the default configuration, which is asked for new anomalies after every six hours of event time; a detection counts
when it was seen, less these six hours. Prints what came of it beside the bars, and ends with 1 where one is missed. "Sweep"
is the best of all thresholds on the reported score; the rest is of all that was reported.
"""
import json, os, pathlib, re, subprocess, sys, tempfile

STEP = "6h"
CONFIG = "listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}\n"
FIELDS = "series=labels.bench_series,timestamp=emittedAt,score=score,id=seq"

# What is measured: its name, and whether more is better.
STANDARD, LOW_FP = "NAB standard, default", "NAB low FP, default"
DEFAULT_F1, F1 = "event F1, default", "event F1, sweep"
WEEKLY, DAILY = "recall at 1 false alarm a series-week", "recall at 1 false alarm a series-day"
FALSE_ALARMS = "false alarms a series-week, default"
LESS_IS_BETTER = {FALSE_ALARMS}
BARS = {
    "nab": {STANDARD: 60, LOW_FP: 50, F1: 0.58, WEEKLY: 0.86, FALSE_ALARMS: 1},
    "smd": {F1: 0.62, DAILY: 0.80},
    "mscloud": {F1: 0.52, WEEKLY: 0.64, FALSE_ALARMS: 1},
}


def serve(binary, directory):
    """The service, and its addresses for OTLP/gRPC and REST."""
    (directory / "bellwether.yaml").write_text(CONFIG)
    command = [binary, "--config", directory / "bellwether.yaml", "--data-dir", directory / "data"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env=os.environ | {"NO_COLOR": "1"})
    log = ""
    for line in process.stdout:
        log += line
        found = [re.search(rf"{name}\s+(?:http://)?(\S+:\d+)", log) for name in ("OTLP/gRPC", "page, REST")]
        if all(found):
            return process, *(match[1] for match in found)
    sys.exit(f"the service has ended:\n{log}")


def replay(binary, harness, data, out):
    with tempfile.TemporaryDirectory() as directory:
        process, otlp, api = serve(binary, pathlib.Path(directory))
        # What it says later has to go somewhere.
        drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        command = [sys.executable, harness / "otlp_replay.py", "--data", data, "--endpoint", otlp, "--step", STEP,
                   "--poll", f"http://{api}/api/v1/anomalies?limit=1000", "--items", "items", "--cursor", "cursor",
                   "--fields", FIELDS, "--out", out]
        try:
            subprocess.run(command, check=True)
        finally:
            process.terminate()
            process.wait()
            drain.wait()


def score(harness, data, run, threshold=None):
    command = [sys.executable, harness / "score.py", "--data", data, "--run", run, "--step-allowance", STEP, "--no-sweep",
               "--json"]
    command += [] if threshold is None else ["--threshold", str(threshold)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(harness, data, run):
    found = score(harness, data, run)
    measured = {DEFAULT_F1: found["events"]["f1"], FALSE_ALARMS: found["events"]["false_per_series_week"]}
    if found["nab"]:
        measured |= {STANDARD: found["nab"]["standard"], LOW_FP: found["nab"]["reward_low_FP_rate"]}
    scores = sorted({float(item["score"]) for item in json.loads(run.read_text())["detections"]})
    # Forty thresholds or so, as many scores apart.
    swept = [score(harness, data, run, at)["events"] for at in scores[::max(1, len(scores) // 40)]]
    measured[F1] = max((events["f1"] for events in swept), default=0.0)
    for name, rate in ((WEEKLY, "false_per_series_week"), (DAILY, "false_per_series_day")):
        quiet = (events for events in swept if round(events[rate], 2) <= 1)
        measured[name] = max((events["recall"] for events in quiet), default=0.0)
    return measured


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    binary, harness, sets = sys.argv[1], pathlib.Path(sys.argv[2]), [pathlib.Path(data) for data in sys.argv[3:]]
    missed = False
    for data in sets:
        with tempfile.TemporaryDirectory() as directory:
            run = pathlib.Path(directory) / "run.json"
            replay(binary, harness, data, run)
            measured, bars = measure(harness, data, run), BARS.get(data.name, {})
        print(f"\n| {data.name} | measured | bar | |\n|---|---|---|---|")
        for name, value in measured.items():
            bar = bars.get(name)
            is_met = bar is None or (value <= bar if name in LESS_IS_BETTER else round(value, 2) >= bar)
            missed |= not is_met
            print(f"| {name} | {value:.2f} | {'' if bar is None else bar} | {'' if bar is None else 'met' if is_met else 'MISSED'} |")
    sys.exit(missed)


if __name__ == "__main__":
    main()
