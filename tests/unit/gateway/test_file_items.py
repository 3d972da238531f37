"""What a run gets of a file that started it, whatever time the file system has of it."""

from __future__ import annotations

import pytest

from agentflow_common.rpc import ListedFile
from agentflow_common.schedules.sources import Files
from agentflow_gateway.schedules.sources.files import item_of


@pytest.mark.parametrize(
    ("ms", "told"),
    [
        (1_500, "1970-01-01T00:00:01.500+00:00"),
        (-1_000_000_000_000, "1938-04-24T22:13:20.000+00:00"),
        (10**18, "9999-12-31T23:59:59.999+00:00"),
        (-(10**18), "0001-01-01T00:00:00.000+00:00"),
    ],
)
def test_every_time_of_a_file_can_be_written(ms: int, told: str) -> None:
    item = item_of(Files(folder="in"), ListedFile(name="a.md", size=1, modified_ms=ms, changed_ms=0, etag="1-2"))
    assert item.payload["modified"] == told
    assert item.payload["path"] == "in/a.md"
