"""Reads CloudEvents with the official SDK.

Standard input has one JSON object {"headers", "body"} a line, a request each. Prints what the SDK made of all of them, and
whether it refuses the first one when something is taken from it.
"""

import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.exceptions import BaseCloudEventException

REQUIRED = ("specversion", "id", "source", "type")


def read(headers, body):
    """The event; a SDK that fills in what is missing would hide that it is."""
    given = json.loads(body)
    missing = [name for name in (*REQUIRED, "time", "datacontenttype", "data") if name not in given]
    if missing:
        raise ValueError(f"without {missing}")
    if not headers["content-type"].startswith("application/cloudevents+json"):
        raise ValueError("in another mode")
    return from_http_event(HTTPMessage(headers=headers, body=body.encode()))


def refuses(headers, body, name, value):
    changed = json.loads(body)
    changed[name] = value
    try:
        read(headers, json.dumps(changed))
    except (BaseCloudEventException, ValueError):
        return True
    return False


requests = [json.loads(line) for line in sys.stdin]
faults, pairs, types, statuses = [], set(), {}, {}
for request in requests:
    headers, body = request["headers"], request["body"]
    try:
        event = read(headers, body)
    except Exception as error:
        faults.append(repr(error))
        continue
    if event.get_id() != headers["webhook-id"]:
        faults.append(f"{event.get_id()} under {headers['webhook-id']}")
    pairs.add((event.get_source(), event.get_id()))
    types[event.get_type()] = types.get(event.get_type(), 0) + 1
    status = event.get_data()["status"]
    statuses[status] = statuses.get(status, 0) + 1
first = requests[0]
print(json.dumps({
    "faults": faults[:5],
    "pairs": len(pairs),
    "types": types,
    "statuses": statuses,
    "refused": {name: refuses(first["headers"], first["body"], name, value)
                for name, value in (("specversion", "2.0"), ("id", ""), ("source", None), ("time", "soon"), ("Name", "x"))},
}))
