"""What operators set live: paused workflows, and the limits of lanes (bucket AF_CONTROLS)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec
import nats.errors
from nats.js.errors import APIError
from nats.js.kv import KeyValue

from agentflow_common.lanecontrols import config_for, name_of
from agentflow_common.lanefold import LaneConfig

log = logging.getLogger(__name__)
RETRY_S: Final = 1.0


class Controls:
    """The newest values of the bucket. `changed` is set when one came. workflows: (org, name) of the paused ones.
    lanes: by name or pattern, the entry as it stands."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket
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
        """For ever. The watcher gives all keys first, then None, then each change."""
        while True:
            try:
                watcher = await self._bucket.watchall()
                async for entry in watcher:
                    if entry is None:
                        self.known.set()
                        self.changed.set()
                    else:
                        self._take(entry.key, None if entry.operation else entry.value)
            except (nats.errors.Error, APIError, TimeoutError) as error:
                log.warning("controls are watched again: %s", type(error).__name__)
            await asyncio.sleep(RETRY_S)

    def _take(self, key: str, value: bytes | None) -> None:
        kind, _, rest = key.partition(".")
        try:
            data: dict[str, Any] = msgspec.json.decode(value, type=dict[str, Any]) if value else {}
        except msgspec.MsgspecError:
            log.warning("the control %s is not readable", key)
            return
        if kind == "workflow":
            org, _, name = rest.partition(".")
            (self.workflows.add if data.get("paused") else self.workflows.discard)((org, name))
        elif kind == "lane":
            if data:
                self.lanes[name_of(rest)] = data
            else:
                self.lanes.pop(name_of(rest), None)
        self.changed.set()
