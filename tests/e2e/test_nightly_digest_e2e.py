"""The nightly schedule of the examples: fired for past nights and by webhook, offline, on the whole stack."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from tests.support.paths import EXAMPLES
from tests.support.waiting import until_now
from tests.support.webhooks import sign

from .conftest import Platform

if TYPE_CHECKING:
    from agentflow_sdk import Client, Schedule

pytestmark = pytest.mark.e2e
BERLIN = ZoneInfo("Europe/Berlin")


def until(client: Client, holds: Callable[[Schedule], bool], timeout_s: float = 180.0) -> Schedule:
    end = time.monotonic() + timeout_s
    while not holds(found := client.schedules.get("nightly_digest", times=7)):
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found


def test_the_nightly_digest(platform: Platform, client: Client, planted: dict[str, list[str]]) -> None:
    client.workflows.register((EXAMPLES / "nightly_digest.yaml").read_text())
    done = platform.cli("schedule", "create", "-f", str(EXAMPLES / "schedules" / "nightly_digest.yaml"))
    assert done.returncode == 0, done.stderr
    found = client.schedules.get("nightly_digest", times=7)
    nights = [datetime.fromtimestamp(at / 1000, BERLIN) for at in found.next_times]
    assert len(nights) == 7
    assert {(night.hour, night.minute) for night in nights} <= {(2, 30), (3, 0)}
    assert {night.weekday() for night in nights} == {0, 1, 2, 3, 4}

    # two working nights and a weekend of the past, one after the other
    start = datetime(2026, 3, 27, tzinfo=BERLIN)
    end = datetime(2026, 3, 30, 12, tzinfo=BERLIN)
    asked = client.schedules.backfill("nightly_digest", int(start.timestamp() * 1000), int(end.timestamp() * 1000))
    assert asked.count == 2
    found = until(client, lambda s: not s.backfills and not s.active and s.fired >= 2)
    assert [fire.status for fire in found.recent] == ["completed", "completed"], found.recent
    folder = platform.buckets / "posts" / "digests"
    assert sorted(file.name for file in folder.iterdir()) == ["2026-03-27.txt", "2026-03-30.txt"]
    digest = (folder / "2026-03-30.txt").read_text()
    assert len(digest) > 50
    run = client.workflows.get(found.recent[0].run_id)
    assert run.output["stored"] == "digests/2026-03-30.txt"
    assert run.tags["schedule"] == "nightly_digest"
    assert not any(value in json.dumps(run.output) for values in planted.values() for value in values)

    # and by webhook
    hook = client.schedules.webhook("nightly_digest")
    body = b"{}"
    request = urllib.request.Request(
        f"http://{hook.address}{hook.path}", body, {"X-AgentFlow-Signature": sign(hook.secret, body, int(time.time()))}
    )

    def started() -> str:  # told again it is the same delivery; the first answer may come before it was decided
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 202
            return str(json.load(answer).get("run_id", ""))

    asked_run = until_now(started)
    found = until(client, lambda s: s.fired == 3 and not s.active)
    assert (found.recent[0].run_id, found.recent[0].status) == (asked_run, "completed")
    client.schedules.delete("nightly_digest")


def test_the_twin_makes_a_schedule(platform: Platform, client: Client) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "sdk" / "nightly_digest.py", "vendor_review.md"],
        env={"AGENTFLOW_ENDPOINT": platform.stack.grpc, "AGENTFLOW_TOKEN": platform.stack.dev_key},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("next: ")
    client.schedules.delete("nightly_digest_sdk")
