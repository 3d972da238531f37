"""Decides whether another run is accepted, by the load that the schedulers report. Pure.

Each scheduler reports its load about once a second (load_reports.py). A run that this gateway accepted counts as active
until every scheduler has reported a time at which it must know the run (SETTLE_MS). Until then a run may count twice,
but no burst slips in between two reports. Each gateway knows only its own submissions. Several gateways together may
exceed a bound by what they accept within that time.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

import msgspec

from agentflow_common.errors import OverloadedError

RETRY_AFTER_MS: Final = 1000  # the reports come about that often
RETRY_AFTER_MS_MAX: Final = 30_000
SETTLE_MS: Final = 2000  # from a run's admission until a scheduler that keeps up knows it
_BUCKET_MS: Final = 100


class Report(msgspec.Struct, frozen=True):
    """The load of one scheduler."""

    active_runs: int = 0
    ready_steps: int = 0
    rss_bytes: int = 0
    at: int = 0  # ms since the epoch
    pools: dict[str, int] = {}  # by worker pool: steps that are offered and not done


class Bounds(msgspec.Struct, frozen=True):
    """The limits of the load. 0: no limit."""

    active_runs: int = 0
    ready_steps: int = 0
    rss_bytes: int = 0  # of any one scheduler
    org_runs: int = 0  # active runs of one org


class Admission:
    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._reports: dict[str, Report] = {}
        self._last_total = 0  # of the last reports, for times without any
        self._accepted: deque[tuple[int, int]] = deque()  # (ms of the bucket, submissions)
        self._pending = 0

    def report(self, scheduler: str, report: Report) -> None:
        self._reports[scheduler] = report
        self._settle()

    def gone(self, scheduler: str) -> None:
        self._reports.pop(scheduler, None)

    def offered(self) -> Counter[str]:
        """Returns how many steps are offered to each worker pool and not done, as the last reports said."""
        return sum((Counter(report.pools) for report in self._reports.values()), Counter())

    def _settle(self) -> None:
        """Forgets the submissions that every scheduler must have reported by now."""
        self._last_total = sum(report.active_runs for report in self._reports.values())
        oldest = min(report.at for report in self._reports.values())
        while self._accepted and self._accepted[0][0] + _BUCKET_MS + SETTLE_MS <= oldest:
            self._pending -= self._accepted.popleft()[1]

    def accepted(self, now_ms: int) -> None:
        """Counts a run that is accepted. Called before the log has it, so that the next one counts it."""
        start = now_ms - now_ms % _BUCKET_MS
        if self._accepted and self._accepted[-1][0] == start:
            self._accepted[-1] = (start, self._accepted[-1][1] + 1)
        else:
            self._accepted.append((start, 1))
        self._pending += 1

    @property
    def active(self) -> int:
        """The number of active runs as far as this gateway can know."""
        return self._last_total + self._pending

    def check(self, org: str, org_active: int) -> None:
        """Raises OverloadedError, with the time after which to try again, if one more run would exceed a bound.

        org_active: active runs of the org; only needed if there is a bound for it.
        """
        bounds = self.bounds
        ready = sum(report.ready_steps for report in self._reports.values())
        heaviest = max((report.rss_bytes for report in self._reports.values()), default=0)
        mib = 2**20
        for now, bound, unit, what in (
            (self.active, bounds.active_runs, 1, "{} runs are active, the limit is {}"),
            (org_active, bounds.org_runs, 1, f"{{}} runs of org {org} are active, the limit is {{}}"),
            (ready, bounds.ready_steps, 1, "{} steps wait for workers, the limit is {}"),
            (heaviest, bounds.rss_bytes, mib, "a scheduler uses {} MiB, the limit is {} MiB"),
        ):
            if bound and now >= bound:
                wait_ms = min(RETRY_AFTER_MS_MAX, RETRY_AFTER_MS * max(1, round(now / bound)))
                text = what.format(f"{now // unit:,}", f"{bound // unit:,}")
                raise OverloadedError(
                    f"{text}: nothing was accepted; try again in {wait_ms / 1000:g} s",
                    kind="too_many_active",
                    retry_after_ms=wait_ms,
                )
