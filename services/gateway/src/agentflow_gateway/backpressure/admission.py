"""Decides whether another run is accepted, by the load that the schedulers report. Pure.

backpressure/load_reports.py feeds it.

Each scheduler tells about once a second what it holds. What this gateway has accepted counts as if it were all still
there until every scheduler has told of a time by which it must have seen it (SETTLE_MS): until then a run may count
twice, but no burst slips in between two reports. With several gateways each knows its own submissions only: together
they may pass a bound by what they accept within that time.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from agentflow_common.errors import OverloadedError

RETRY_AFTER_MS: Final = 1000  # the reports come about that often
RETRY_AFTER_MS_MAX: Final = 30_000
SETTLE_MS: Final = 2000  # from a run's admission until a scheduler that keeps up holds it
_BUCKET_MS: Final = 100


class Report(msgspec.Struct, frozen=True):
    """What one scheduler has in hand. at: ms since the epoch."""

    active_runs: int = 0
    ready_steps: int = 0
    rss_bytes: int = 0
    at: int = 0


class Bounds(msgspec.Struct, frozen=True):
    """0: no bound. rss_bytes: of any one scheduler. org_runs: active runs of one org."""

    active_runs: int = 0
    ready_steps: int = 0
    rss_bytes: int = 0
    org_runs: int = 0


class Admission:
    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._reports: dict[str, Report] = {}
        self._last_total = 0  # while no scheduler tells: what they told last
        self._accepted: deque[tuple[int, int]] = deque()  # (ms of the bucket, submissions)
        self._pending = 0

    def report(self, scheduler: str, report: Report) -> None:
        self._reports[scheduler] = report
        self._settle()

    def gone(self, scheduler: str) -> None:
        self._reports.pop(scheduler, None)

    def _settle(self) -> None:
        """Forgets the submissions that every scheduler must have told of by now."""
        self._last_total = sum(report.active_runs for report in self._reports.values())
        oldest = min(report.at for report in self._reports.values())
        while self._accepted and self._accepted[0][0] + _BUCKET_MS + SETTLE_MS <= oldest:
            self._pending -= self._accepted.popleft()[1]

    def accepted(self, now_ms: int) -> None:
        """A run was taken. Called before the log has it, so that the next one counts it."""
        start = now_ms - now_ms % _BUCKET_MS
        if self._accepted and self._accepted[-1][0] == start:
            self._accepted[-1] = (start, self._accepted[-1][1] + 1)
        else:
            self._accepted.append((start, 1))
        self._pending += 1

    @property
    def active(self) -> int:
        """Runs that are active as far as this gateway can know."""
        return self._last_total + self._pending

    def check(self, org: str, org_active: int) -> None:
        """OverloadedError, with the time after which to try again, if one more run would pass a bound.

        org_active: active runs of the org; asked only if there is a bound for it.
        """
        bounds = self.bounds
        if bounds.active_runs and self.active >= bounds.active_runs:
            raise _refusal(
                f"{self.active:,} runs are active", f"{bounds.active_runs:,}", self.active, bounds.active_runs
            )
        if bounds.org_runs and org_active >= bounds.org_runs:
            raise _refusal(
                f"{org_active:,} runs of org {org} are active", f"{bounds.org_runs:,}", org_active, bounds.org_runs
            )
        ready = sum(report.ready_steps for report in self._reports.values())
        if bounds.ready_steps and ready >= bounds.ready_steps:
            raise _refusal(f"{ready:,} steps wait for workers", f"{bounds.ready_steps:,}", ready, bounds.ready_steps)
        heaviest = max((report.rss_bytes for report in self._reports.values()), default=0)
        if bounds.rss_bytes and heaviest >= bounds.rss_bytes:
            raise _refusal(
                f"a scheduler uses {heaviest // 2**20:,} MiB", f"{bounds.rss_bytes // 2**20:,} MiB",
                heaviest, bounds.rss_bytes,
            )  # fmt: skip


def _refusal(what: str, bound: str, now: int, limit: int) -> OverloadedError:
    wait_ms = min(RETRY_AFTER_MS_MAX, RETRY_AFTER_MS * max(1, round(now / limit)))
    return OverloadedError(
        f"{what}, the bound is {bound}: nothing was accepted; try again in {wait_ms / 1000:g} s",
        kind="too_many_active",
        retry_after_ms=wait_ms,
    )
