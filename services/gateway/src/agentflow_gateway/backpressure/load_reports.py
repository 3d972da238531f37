"""Feeds the admission with the schedulers' reports: the keys `scheduler.<id>` of the bucket AF_LOAD."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import msgspec
import nats.errors
from nats.aio.client import Client

from agentflow_common import subjects
from agentflow_common.errors import UNREADABLE
from agentflow_common.log.consumers import PullError, Tail
from agentflow_gateway.backpressure.admission import Admission, Bounds, Report
from agentflow_gateway.settings import GatewaySettings
from agentflow_gateway.store.runs import RunStore

log = logging.getLogger(__name__)

_SUBJECT: Final = f"$KV.{subjects.LOAD_BUCKET}.scheduler."
_SILENT_S: Final = 6.0  # the bucket forgets a scheduler that is silent for 5 s, some servers without notifying watchers
_ORG_CACHE_S: Final = 1.0
_ORGS_MAX: Final = 10_000


def bounds_of(settings: GatewaySettings) -> Bounds:
    return Bounds(
        settings.max_active_runs,
        settings.max_ready_steps,
        settings.max_scheduler_rss_bytes,
        settings.max_active_runs_per_org,
    )


class Load:
    def __init__(self, nc: Client, runs: RunStore, settings: GatewaySettings) -> None:
        self._nc = nc
        self._runs = runs
        self.admission = Admission(bounds_of(settings))
        self._seen: dict[str, float] = {}
        self._reported = False
        self._orgs: dict[str, tuple[int, float]] = {}

    async def admit(self, org: str, now_ms: int) -> None:
        """Counts the run as accepted, or raises OverloadedError."""
        bound = self.admission.bounds.org_runs
        self.admission.check(org, await self._org_active(org, bound) if bound else 0)
        self.admission.accepted(now_ms)
        if bound:
            active, read_at = self._orgs[org]
            self._orgs[org] = (active + 1, read_at)

    async def _org_active(self, org: str, bound: int) -> int:
        cached = self._orgs.get(org)
        if cached is None or time.monotonic() - cached[1] > _ORG_CACHE_S:
            if len(self._orgs) >= _ORGS_MAX:
                self._orgs.clear()
            self._orgs[org] = (await self._runs.count_active(org, bound), time.monotonic())
        return self._orgs[org][0]

    @property
    def schedulers(self) -> int | None:
        """The number of schedulers that report, None before the first report: they may not have been read yet."""
        return len(self._seen) if self._reported else None

    async def run(self) -> None:
        """Follows the bucket until it is cancelled. Without the bucket the last reports count."""
        while True:
            try:
                await self._follow()
            except (PullError, nats.errors.Error, OSError, TimeoutError) as error:
                log.warning("the schedulers' load can't be read", extra={"error": type(error).__name__})
            await asyncio.sleep(1.0)

    async def _follow(self) -> None:
        tail = Tail(self._nc, f"KV_{subjects.LOAD_BUCKET}", [f"{_SUBJECT}>"])
        try:
            while True:
                for delivery in await tail.batch(wait_s=1.0):
                    self._take(delivery.subject.removeprefix(_SUBJECT), delivery.data)
                self._expire()
        finally:
            await asyncio.shield(tail.stop())

    def _take(self, key: str, data: bytes) -> None:
        if not data:  # deleted, or aged out
            self.admission.gone(key)
            self._seen.pop(key, None)
            return
        try:
            report = msgspec.json.decode(data, type=Report)
        except UNREADABLE:
            log.warning("a scheduler's load can't be read", extra={"key": key})
            return
        self._seen[key] = time.monotonic()
        self._reported = True
        self.admission.report(key, report)

    def _expire(self) -> None:
        now = time.monotonic()
        for key in [key for key, at in self._seen.items() if now - at > _SILENT_S]:
            del self._seen[key]
            self.admission.gone(key)
