"""Verifies a webhook with the official library of Standard Webhooks.

Reads {"secret", "headers", "body"} from standard input, and prints what the library made of it: once as it came, and
once for each way in which it was changed.
"""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def verifies(secret, headers, body):
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


given = json.load(sys.stdin)
secret, headers, body = given["secret"], given["headers"], given["body"]
changed = body.replace("firing", "resolved", 1)
print(json.dumps({
    "genuine": verifies(secret, headers, body),
    "other_body": verifies(secret, headers, changed),
    "other_id": verifies(secret, {**headers, "webhook-id": headers["webhook-id"] + "x"}, body),
    "other_time": verifies(secret, {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}, body),
    "other_key": verifies("whsec_" + "A" * 32, headers, body),
}))
