"""Follows the level over gRPC with what protoc makes of the contract.

Watches the level of a service, pins it to 3 and then to nothing, and expects a message of each. Prints one line of JSON
with the milliseconds that each took; the exit code is 1 when something is not as it should be.
"""

import argparse
import datetime
import json
import pathlib
import sys
import tempfile
import time
import urllib.request

import grpc
from grpc_tools import protoc

CONTRACT = pathlib.Path(__file__).parents[3] / "proto"
FILE = "bellwether/v1/degradation.proto"


def generated():
    """The modules of messages and of stubs."""
    directory = tempfile.mkdtemp()
    arguments = ["protoc", f"-I{CONTRACT}", f"--python_out={directory}", f"--grpc_python_out={directory}", FILE]
    if protoc.main(arguments) != 0:
        sys.exit("the contract cannot be compiled")
    sys.path.insert(0, directory)
    from bellwether.v1 import degradation_pb2, degradation_pb2_grpc

    return degradation_pb2, degradation_pb2_grpc


def pin(endpoint: str, service: str, level: int | None) -> None:
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)
    body = {"level": level, "author": "test", "reason": "a drill", "service": service, "expiresAt": until.isoformat()}
    url = f"{endpoint}/api/v1/degradation/pin"
    if level is None:
        request = urllib.request.Request(f"{url}?service={service}", method="DELETE")
    else:
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers, method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


def until(stream, wanted) -> "object":
    for message in stream:
        if wanted(message):
            return message
    sys.exit("the stream has ended")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--service", required=True)
    options = parser.parse_args()
    messages, stubs = generated()
    channel = grpc.insecure_channel(options.endpoint.removeprefix("http://"))
    watch = stubs.DegradationStub(channel).Watch

    try:
        next(iter(watch(messages.WatchRequest(service="nobody"), timeout=10)))
        sys.exit("a service that is not known was followed")
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND or "nobody" not in error.details():
            sys.exit(f"expected NOT_FOUND, got {error}")

    everything = next(iter(watch(messages.WatchRequest(), timeout=10)))
    if everything.service or not everything.name or not everything.id:
        sys.exit(f"of everything: got {everything}")

    stream = watch(messages.WatchRequest(service=options.service), timeout=60)
    first = next(iter(stream))
    if (first.service, first.level, first.name) != (options.service, 0, "full-service"):
        sys.exit(f"first: got {first}")
    seen = {}
    began = time.monotonic()
    pin(options.endpoint, options.service, 3)
    message = until(stream, lambda m: m.level == 3)
    seen["pinned"] = int((time.monotonic() - began) * 1000)
    if not message.pinned or "writes" not in message.disabled_features or "a drill" not in " ".join(message.because):
        sys.exit(f"pinned: got {message}")
    began = time.monotonic()
    pin(options.endpoint, options.service, None)
    until(stream, lambda m: m.level == 0 and not m.pinned)
    seen["cleared"] = int((time.monotonic() - began) * 1000)
    stream.cancel()
    print(json.dumps(seen))


main()
