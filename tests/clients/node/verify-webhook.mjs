// Verifies a webhook with the official library of Standard Webhooks.
//
// Reads {"secret", "headers", "body"} from standard input, and prints what the library made of it: once as it came, and
// once for each way in which it was changed.

import { readFileSync } from "node:fs";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

function verifies(secret, headers, body) {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false;
    throw error;
  }
}

const { secret, headers, body } = JSON.parse(readFileSync(0, "utf8"));
const earlier = String(Number(headers["webhook-timestamp"]) - 1);
console.log(JSON.stringify({
  genuine: verifies(secret, headers, body),
  other_body: verifies(secret, headers, body.replace("firing", "resolved")),
  other_id: verifies(secret, { ...headers, "webhook-id": headers["webhook-id"] + "x" }, body),
  other_time: verifies(secret, { ...headers, "webhook-timestamp": earlier }, body),
  other_key: verifies("whsec_" + "A".repeat(32), headers, body),
}));
