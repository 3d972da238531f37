"""The timers of an entity as its log says: those that are set and have not fired."""

from __future__ import annotations

import msgspec


class TimerState(msgspec.Struct, omit_defaults=True):
    """A timer that is set and has not fired."""

    kind: str
    fire_at: int  # ms since the epoch
    step: str = ""
    attempt: int = 0
