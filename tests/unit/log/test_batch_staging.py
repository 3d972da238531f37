"""Which messages at a log's end are a batch that lacks its own end."""

from __future__ import annotations

import pytest

from agentflow_common.embedded.batch_staging import torn
from agentflow_common.log.consumers import Delivery

OLD, STARTED, YOUNG = 1_000, 2_000, 3_000


def single(seq: int, ts: int = OLD) -> Delivery:
    return Delivery("af.evt.0.o.r.in", b"", seq, ts, 1, 0, "", None)


def part(seq: int, batch: str, number: int, *, end: bool = False) -> Delivery:
    headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
    if end:
        headers["Nats-Batch-Commit"] = "1"
    return Delivery("af.evt.0.o.r.in", b"", seq, OLD, 1, 0, "", headers)


WHOLE = [part(1, "a", 1), part(2, "a", 2, end=True)]


@pytest.mark.parametrize(
    ("found", "last", "wanted"),
    [
        ([], 7, []),
        ([single(1)], 1, []),
        (WHOLE, 2, []),
        ([*WHOLE, single(3)], 3, []),
        ([*WHOLE, part(3, "b", 1), part(4, "b", 2)], 4, [3, 4]),
        ([*WHOLE, part(4, "b", 2)], 4, [4]),  # a repair that was cut off goes on
        ([*WHOLE, part(3, "b", 1), part(4, "b", 2), single(5, YOUNG)], 5, [3, 4]),  # a timer fired since
        ([*WHOLE, part(3, "b", 1), part(4, "b", 2), single(5, OLD)], 5, []),
        ([*WHOLE, part(3, "b", 1), part(4, "b", 2)], 5, []),  # the end was trimmed
        ([*WHOLE, part(3, "b", 1), part(4, "b", 2), single(6, YOUNG)], 6, []),
        ([part(3, "b", 2), part(4, "b", 3)], 4, None),  # its begin is further back
        ([single(3, YOUNG), single(4, YOUNG)], 4, None),
    ],
)
def test_torn(found: list[Delivery], last: int, wanted: list[int] | None) -> None:
    assert torn(found, last, STARTED) == wanted
