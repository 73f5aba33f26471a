"""Reads Alertmanager's webhooks as programs do that were written for them.

Reads bodies from standard input, one a line, and prints what a program made of each. The argument says which: `model`
is prometheus-alert-model-leo, `xmpp` is prometheus-xmpp-alerts, which Debian has.
"""

import json
import sys


def model(body):
    from prometheus_alert_model import AlertGroup

    group = AlertGroup.model_validate(body)
    alerts = [{
        "status": alert.status, "labels": alert.labels, "annotations": alert.annotations,
        "starts_at": alert.starts_at.isoformat(), "ends_at": alert.ends_at.isoformat(),
        "generator_url": alert.generator_url, "fingerprint": alert.fingerprint,
        "specific_labels": alert.specific_labels,
    } for alert in group.alerts]
    common = {"labels": group.common_labels, "annotations": group.common_annotations}
    # What the model does itself has to come to the same.
    group.update_common_elements()
    assert common == {"labels": group.common_labels, "annotations": group.common_annotations}
    return {
        "receiver": group.receiver, "status": group.status, "version": group.version, "truncated": group.truncated_alerts,
        "group_labels": group.group_labels, "common": common, "alerts": alerts,
    }


def xmpp(body):
    import prometheus_xmpp

    return {"short": list(prometheus_xmpp.create_message_short(body)),
            "full": list(prometheus_xmpp.create_message_full(body))}


read = {"model": model, "xmpp": xmpp}[sys.argv[1]]
for line in sys.stdin:
    print(json.dumps(read(json.loads(line))), flush=True)
