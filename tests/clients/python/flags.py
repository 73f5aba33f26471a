"""Follows the level with the official OpenFeature SDK for Python and its OFREP provider.

Evaluates flags, then pins the level of a service to 3 and waits until the flags say so, then asks too often and
waits until it is answered again. Prints one line of JSON with what was seen; the exit code is 1 when something is
not as it should be.
"""

import argparse
import datetime
import json
import sys
import threading
import time
import urllib.error
import urllib.request

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext


def pin(endpoint: str, service: str, level: int) -> None:
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)
    body = {"level": level, "author": "test", "reason": "a drill", "service": service, "expiresAt": until.isoformat()}
    request = urllib.request.Request(
        f"{endpoint}/api/v1/degradation/pin",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=10).close()


def expect(what: str, seen: object, expected: object) -> None:
    if seen != expected:
        sys.exit(f"{what}: expected {expected!r}, got {seen!r}")


def ask_until(endpoint: str, stop: threading.Event) -> None:
    while not stop.is_set():
        request = urllib.request.Request(f"{endpoint}/ofrep/v1/evaluate/flags", data=b"{}", method="POST")
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except urllib.error.HTTPError as error:
            expect("refusal", (error.code, int(error.headers["retry-after"]) >= 1), (429, True))
            error.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--service", required=True)
    options = parser.parse_args()
    api.set_provider(OFREPProvider(options.endpoint))
    client = api.get_client()
    ours = EvaluationContext(targeting_key="python", attributes={"service": {"name": options.service}})

    level = client.get_integer_details("degradation-level", -1, ours)
    expect("level", (level.value, level.variant, level.error_code), (0, "full-service", None))
    expect("reason", str(level.reason), "TARGETING_MATCH")
    expect("without a context", client.get_integer_value("degradation-level", -1), 0)
    expect("feature", client.get_boolean_value("writes", False, ours), True)
    expect("mode", client.get_string_value("degradation-mode", "", ours), "full-service")
    unknown = client.get_boolean_details("no-such-flag", True, ours)
    expect("unknown flag", (unknown.value, str(unknown.error_code)), (True, "FLAG_NOT_FOUND"))
    mismatch = client.get_string_details("degradation-level", "x", ours)
    expect("wrong type", (mismatch.value, str(mismatch.error_code)), ("x", "TYPE_MISMATCH"))

    pin(options.endpoint, options.service, 3)
    pinned = time.monotonic()
    while client.get_integer_value("degradation-level", -1, ours) != 3:
        if time.monotonic() - pinned > 10:
            sys.exit("the pinned level is not seen")
        time.sleep(0.02)
    seen = time.monotonic() - pinned
    level = client.get_integer_details("degradation-level", -1, ours)
    expect("pinned level", (level.variant, level.flag_metadata.get("pinnedBy")), ("read-only", "test"))
    expect("pinned feature", client.get_boolean_value("writes", True, ours), False)
    expect("others", client.get_boolean_value("writes", False), True)

    stop = threading.Event()
    crowd = [threading.Thread(target=ask_until, args=(options.endpoint, stop)) for _ in range(4)]
    for one in crowd:
        one.start()
    began = time.monotonic()
    while client.get_integer_details("degradation-level", -1, ours).error_code is None:
        if time.monotonic() - began > 30:
            stop.set()
            sys.exit("nobody is refused")
    stop.set()
    for one in crowd:
        one.join()
    paused = client.get_integer_details("degradation-level", -1, ours)
    expect("paused", (paused.value, "paused due to TooManyRequests" in str(paused.error_message)), (-1, True))
    refused = time.monotonic()
    while client.get_integer_value("degradation-level", -1, ours) != 3:
        if time.monotonic() - refused > 10:
            sys.exit("nothing is answered any more")
        time.sleep(0.02)
    print(json.dumps({"python_ms": round(1000 * seen)}))


main()
