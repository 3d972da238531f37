"""The bounds of a question about a development, and the times that the service chooses."""

from __future__ import annotations

import pytest

from agentflow_common.errors import InvalidError
from agentflow_common.rpc import TraceSeriesRequest
from agentflow_trace.series.plan import BUCKETS_MAX, checked

DAY = 86_400_000


@pytest.mark.parametrize(
    ("span", "length"),
    [(1, 1_000), (60_000, 1_000), (3_600_000, 60_000), (DAY, 1_800_000), (30 * DAY, 12 * 3_600_000), (9_000 * DAY, 0)],
)
def test_there_are_about_sixty_times_of_a_usual_length(span: int, length: int) -> None:
    end = 10_000 * DAY
    found = checked(TraceSeriesRequest("o", end - span, end))
    assert found.bucket_ms == (length or 150 * DAY)
    assert found.start_ms % found.bucket_ms == 0
    assert 0 <= end - span - found.start_ms < found.bucket_ms


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"start_ms": 0, "end_ms": 9}, "end_ms"),
        ({"start_ms": 9, "end_ms": 9}, "end_ms"),
        ({"start_ms": 1, "end_ms": 9, "by": "org"}, "by"),
        ({"start_ms": 1, "end_ms": DAY, "bucket_ms": 1}, "bucket_ms"),
        ({"start_ms": 1, "end_ms": DAY, "bucket_ms": -1}, "bucket_ms"),
        ({"start_ms": 1, "end_ms": 1_000 * (BUCKETS_MAX + 1), "bucket_ms": 1_000}, "bucket_ms"),
    ],
)
def test_a_question_without_bounds_is_refused(asked: dict[str, int], place: str) -> None:
    with pytest.raises(InvalidError) as caught:
        checked(TraceSeriesRequest("o", **asked))  # type: ignore[arg-type]
    assert [problem.place for problem in caught.value.problems] == [place]
