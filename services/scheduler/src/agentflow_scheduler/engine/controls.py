"""Operators' live settings as the scheduler knows them: paused workflows, and the limits of keyed lanes."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from nats.aio.client import Client

from agentflow_common.clock import Clock
from agentflow_common.lanes.controls import CONTROLS_PREFIX, CONTROLS_STREAM, ControlSettings
from agentflow_common.lanes.fold import LaneConfig
from agentflow_common.log.consumers import Tail
from agentflow_common.log.transient import AWAY

log = logging.getLogger(__name__)
RETRY_S: Final = 1.0
IDLE_S: Final = 5.0  # longer, and a tail that the server has forgotten would be found late
FIRST_S: Final = 0.1  # while the settings are read for the first time


class Controls:
    """Follows the bucket of settings."""

    def __init__(self, nc: Client, clock: Clock) -> None:
        self._nc = nc
        self._settings = ControlSettings(clock.now_ms)
        self.changed = asyncio.Event()  # a setting came, or a pause has ended by itself
        self.known = asyncio.Event()  # all settings were read once

    def is_paused(self, org: str, workflow: str) -> bool:
        return self._settings.is_paused(org, workflow)

    def lane(self, lane: str) -> LaneConfig | None:
        """Returns the limits that operators set for a keyed lane; None until the settings are known."""
        return self._settings.config_for(lane) if self.known.is_set() else None

    async def watch(self) -> None:
        """Follows the bucket, forever.

        It keeps one message a key: first come all settings, then each change.
        """
        while True:
            tail = Tail(self._nc, CONTROLS_STREAM, [f"{CONTROLS_PREFIX}>"])
            try:
                while True:
                    most_s = IDLE_S if self.known.is_set() else FIRST_S
                    for delivery in await tail.batch(self._settings.next_end_s(most_s)):
                        if self._settings.take(delivery.subject, delivery.data):
                            self.changed.set()
                    if self._settings.has_pause_ended():
                        self.changed.set()
                    if tail.caught_up.is_set() and not self.known.is_set():
                        self.known.set()
                        self.changed.set()
            except AWAY as error:
                log.warning("controls are watched again: %s", type(error).__name__)
            finally:
                await tail.stop()
            await asyncio.sleep(RETRY_S)
