"""What schemathesis cannot know from the document: languages, names that exist, and the bound of an answer."""

from datetime import datetime, timedelta, timezone

import schemathesis
from hypothesis import strategies as st

# What README and ARCHITECTURE promise: no answer is longer.
LONGEST_ANSWER = 64 << 20

SELECTORS = [
    "queue_wait_milliseconds",
    'queue_wait_milliseconds{job="shop"}',
    '{__name__=~"queue.*", job!=""}',
    "nothing",
    "traces_span_metrics_calls_total",
]
EXPRESSIONS = [
    "1 + 1",
    '"text"',
    "sum by (job) (queue_wait_milliseconds)",
    "rate(traces_span_metrics_calls_total[5m])",
    "max_over_time(queue_wait_milliseconds[10m])",
    "0 / 0",
]
STATEMENTS = [
    "SELECT 1 AS one",
    "SELECT metric, score FROM anomalies",
    "SELECT count(*) AS n FROM metrics",
]

schemathesis.openapi.format("promql", st.sampled_from(EXPRESSIONS + SELECTORS))
schemathesis.openapi.format("promql-selector", st.sampled_from(SELECTORS))
schemathesis.openapi.format("sql", st.sampled_from(STATEMENTS))
schemathesis.openapi.format("service-name", st.sampled_from(["shop", "acme/pricing", "nobody"]))
schemathesis.openapi.format(
    "pin-expiry",
    st.integers(60, 86_400).map(lambda seconds: (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()),
)


def is_empty(value):
    """Whether nothing of it is left in a query string, where an object leaves its keys."""
    return value in (None, "") or (isinstance(value, (dict, list)) and all(map(is_empty, value)))


# What is empty counts as not given, and schemathesis takes an object that leaves nothing for a wrong value.
@schemathesis.hook
def filter_query(context, query):
    return not any(is_empty(value) for value in (query or {}).values())


@schemathesis.check
def answer_is_bounded(ctx, response, case):
    length = len(response.content)
    assert length <= LONGEST_ANSWER, f"the answer has {length} bytes, the bound is {LONGEST_ANSWER}"
