"""What operators set live: paused workflows, and the limits of lanes (bucket AF_CONTROLS)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError

from agentflow_common import subjects
from agentflow_common.errors import UNREADABLE
from agentflow_common.lanes.controls import PREFIX, config_for, name_of, workflow_of
from agentflow_common.lanes.fold import LaneConfig
from agentflow_common.log.consumers import PullError, Tail

log = logging.getLogger(__name__)
RETRY_S: Final = 1.0
_SUBJECT: Final = f"$KV.{subjects.CONTROLS_BUCKET}."


class Controls:
    """The newest values of the bucket. `changed` is set when one came. workflows: (org, name) of the paused ones.
    lanes: by name or pattern, the entry as it stands."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self.workflows: set[tuple[str, str]] = set()
        self.lanes: dict[str, dict[str, Any]] = {}
        self.changed = asyncio.Event()
        self.known = asyncio.Event()

    def is_paused(self, org: str, workflow: str) -> bool:
        return bool(self.workflows) and (org, workflow) in self.workflows

    def lane(self, lane: str) -> LaneConfig | None:
        """What holds for a keyed lane; None while it is not known what is set."""
        return config_for(lane, self.lanes) if self.known.is_set() else None

    async def watch(self) -> None:
        """For ever. The bucket keeps one message a key: all that is set comes first, then each change."""
        while True:
            tail = Tail(self._nc, f"KV_{subjects.CONTROLS_BUCKET}", [f"{_SUBJECT}>"])
            try:
                while True:
                    for delivery in await tail.batch(5.0 if self.known.is_set() else 0.1):
                        self._take(delivery.subject.removeprefix(_SUBJECT), delivery.data)
                    if tail.caught_up.is_set() and not self.known.is_set():
                        self.known.set()
                        self.changed.set()
            except (PullError, nats.errors.Error, APIError, TimeoutError) as error:
                log.warning("controls are watched again: %s", type(error).__name__)
            finally:
                await tail.stop()
            await asyncio.sleep(RETRY_S)

    def _take(self, key: str, value: bytes | None) -> None:
        workflow = workflow_of(key)
        try:
            data: dict[str, Any] = msgspec.json.decode(value, type=dict[str, Any]) if value else {}
        except UNREADABLE:
            log.warning("the control %s is not readable", key)
            return
        if workflow is not None:
            (self.workflows.add if data.get("paused") else self.workflows.discard)(workflow)
        elif key.startswith(PREFIX):
            if data:
                self.lanes[name_of(key)] = data
            else:
                self.lanes.pop(name_of(key), None)
        self.changed.set()
