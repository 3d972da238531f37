"""Things outside of a run that its steps can wait for: lanes, locks, pools and pauses, and their explanations. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agentflow_common.lanes import fold as lane_fold
from agentflow_common.lanes.controls import rate_text
from agentflow_common.lanes.fold import LaneState
from agentflow_common.runs.state import RunState

HOLDERS_MAX: Final = 5  # of a lane, by name


class Pool(msgspec.Struct, frozen=True):
    """A worker pool as the server sees it."""

    known: bool = True
    asking: int = 0  # open requests for tasks; 0: every worker is busy, or there is none
    active: int = 0  # tasks in hand
    queued: int = 0  # tasks that nobody has taken
    paused: bool = False
    reason: str = ""
    limit: int | None = None
    set_as: str = ""  # the name or pattern for which an operator set `paused` and `limit`
    paused_until: int = 0  # when the pause ends by itself, ms since the epoch


class Surroundings(msgspec.Struct, frozen=True):
    """The state of everything around a run that its steps can wait for."""

    now_ms: int
    workflow_paused: str | None = None  # why it is paused; None if it is not
    workflow_paused_until: int = 0  # when that ends by itself, ms since the epoch
    lanes: Mapping[str, LaneState] = {}  # keyed lanes by name
    pauses: Mapping[str, tuple[str, str, int]] = {}  # by paused lane: the name or pattern that was paused, why, to when
    pools: Mapping[str, Pool] = {}
    schedulers: int | None = None  # how many are alive; None if that is not known
    visible_org: str = ""  # holders of other orgs are counted and not named


class Waiting(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a step waits for."""

    step: str
    kind: str  # see control.proto
    text: str
    on: str = ""  # the name of the step, lane, pool, signal or run that it waits for
    until: int = 0  # ms since the epoch, 0 if unknown
    since: int = 0  # ms since the epoch, 0 if unknown
    detail: dict[str, Any] = {}


def in_lane(key: str, name: str, own: str, lane: LaneState, since: int, around: Surroundings) -> Waiting:
    """Explains the place of an attempt, or of a run, in the queue of a keyed lane."""
    queue = list(lane.queue)
    place = queue.index(own) + 1 if own in lane.queue else 0
    since = since or (lane.queue[own].at if place else 0)
    if lane.paused:
        text = paused("lane", name, around.now_ms, *around.pauses.get(name, (name, "", 0)))
        return Waiting(key, "paused_lane", text, name, since=since)
    where = f", number {place} of {len(queue)} in the queue" if place else ""
    wait_us = lane_fold.rate_wait_us(lane, around.now_ms)
    if len(lane.holders) < lane.limit and wait_us:
        until = around.now_ms + wait_us // 1000
        following = f"the next one {in_time(until, around.now_ms)}"
        text = f"lane {name} starts at most {rate_text(lane.rate_per_s or 0)}, {following}{where}"
        return Waiting(key, "rate", text, name, until, since)
    holders = [slot for slot in lane.holders.values() if around.visible_org in {"", slot.org}]
    named = ", ".join(slot.place for slot in holders[:HOLDERS_MAX])
    hidden = len(lane.holders) - min(len(holders), HOLDERS_MAX)
    others = f"{' and ' if named else ''}{hidden} {'more' if named else 'others'}" if hidden else ""
    text = f"lane {name} is full: {len(lane.holders)} of {lane.limit}, used by {named}{others}{where}"
    detail: dict[str, Any] = {
        "limit": lane.limit, "holders": [slot.place for slot in holders[:HOLDERS_MAX]], "place": place,
        "queued": len(queue),
    }  # fmt: skip
    return Waiting(key, "lane", text, name, 0, since, detail)


def for_lock(key: str, state: RunState, around: Surroundings) -> Waiting | None:
    """Explains a step that is due and waits for the locks of its run; None if the run waits for no lock."""
    locks = state.locks
    if locks is None or not locks.awaited:
        return None
    name = locks.awaited
    lane = around.lanes.get(name)
    if lane is None:
        return Waiting(key, "lock", f"waits for the lock {name}", name)
    found = in_lane(key, name, lane_fold.slot_key(state.run, lane_fold.RUN_STEP, locks.attempt), lane, 0, around)
    if found.kind != "lane":  # an operator has paused it, or set a rate
        return found
    holders = found.detail["holders"]
    has = f", which {', '.join(holders)} {'has' if len(holders) == 1 else 'have'}" if holders else ""
    place = (
        f", number {found.detail['place']} of {found.detail['queued']} in the queue" if found.detail["place"] else ""
    )
    return msgspec.structs.replace(found, kind="lock", text=f"waits for the lock {name}{has}{place}")


def paused(what: str, name: str, now_ms: int, set_as: str, reason: str, until: int) -> str:
    why = f": {reason}" if reason else ""
    by = f" by the pattern {set_as}" if set_as != name else ""
    return f"{what} {name} is paused{by}{why}{own_end(until, now_ms)} (agentctl lane resume {shlex.quote(name)})"


def own_end(until: int, now_ms: int) -> str:
    """Returns a clause about the end of a pause that ends by itself."""
    return f"; that ends by itself {in_time(until, now_ms)}" if until else ""


def in_time(at: int, now_ms: int) -> str:
    return "now" if at <= now_ms else f"in {span(at - now_ms)}"


def span(ms: int) -> str:
    """Returns a time as text: `4 s`, `3 m 20 s`, `2 h 5 m`, `3 d 4 h`."""
    seconds = max(0, round(ms / 1000))
    for size, big, unit, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            rest = seconds % size // unit
            return f"{seconds // size} {big}" + (f" {rest} {small}" if rest else "")
    return f"{seconds} s"
