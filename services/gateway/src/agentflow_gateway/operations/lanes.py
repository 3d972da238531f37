"""Lanes: worker pools and keyed lanes, their limits, and who uses their slots.

Limits are in AF_CONTROLS, by name or by pattern (`acme-*`). Schedulers and workers watch that bucket.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import msgspec
from nats.js import api
from nats.js.errors import NotFoundError as StreamNotFoundError

from agentflow_common import subjects
from agentflow_common.definition.rates import RATE_MAX
from agentflow_common.errors import ConflictError, InvalidError, NotFoundError, Problem
from agentflow_common.lanes import fold as lane_fold
from agentflow_common.lanes.controls import LIMIT_MAX, NAME_MAX, PREFIX, control_key, name_for, name_of
from agentflow_common.lanes.fold import LaneFold, LaneState
from agentflow_common.log.durables import durable_consumers
from agentflow_common.runs.fold import readable
from agentflow_common.runs.waiting import Pool
from agentflow_gateway import auth_rules, limits
from agentflow_gateway.api.call import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.operations import controls_bucket
from agentflow_gateway.operations.controls_bucket import LaneSetting

PAGE_SIZE: Final = 200  # each keyed lane that is listed is read from its log
_AT_ONCE: Final = 16
HOLDERS_MAX: Final = 20
_POOL: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_TRIES_MAX: Final = 5
_DURABLE: Final = subjects.pool_durable("")

Place = tuple[int, str]  # 0: a pool, by name; 1: a keyed lane, by its entity's name; 2: only a setting, by name


class Lane(msgspec.Struct, frozen=True):
    name: str
    setting: LaneSetting  # what applies to it, by its own name or by a pattern
    pool: Pool | None = None  # the worker pool of this name as the server sees it
    keyed: LaneState | None = None  # the keyed lane of this name as its log gives it
    set_as: str = ""  # the name or pattern of the setting

    @property
    def is_keyed(self) -> bool:
        """True for a name that no pool can have, and for one with a rate: a keyed lane, or a pattern of them."""
        rated = self.pool is None and self.setting.rate_per_s is not None
        return self.keyed is not None or rated or not _POOL.match(self.name)


class LaneChange(msgspec.Struct, frozen=True):
    """A change of a lane's setting. None leaves a value as it is; limit 0 and rate 0.0 remove it."""

    limit: int | None = None
    rate_per_s: float | None = None
    paused: bool | None = None
    reason: str = ""
    until: int = 0  # of a pause: when it ends by itself, ms since the epoch; 0: when the lane is resumed


def check_name(name: str) -> str:
    limits.check_text(name, "name", NAME_MAX)
    if not name:
        raise InvalidError.at("name", "the name of the lane is empty", "name a lane")
    return name


async def get(deps: Deps, name: str) -> Lane:
    set_as, setting = await effective(deps, check_name(name))
    served, keyed = await asyncio.gather(_served(deps, name, set_as, setting), read_slots(deps, name))
    pool = served if served.known else None
    if pool is None and keyed is None and (waiting := await _offered(deps, name)):
        pool = msgspec.structs.replace(served, queued=waiting, limit=setting.limit)
    return Lane(name, setting, pool, keyed, set_as)


async def _offered(deps: Deps, name: str) -> int:
    """Returns how many attempts were offered to a worker pool that no worker has ever served."""
    if not _POOL.match(name):
        return 0
    stream = await deps.nc.jsm().stream_info(subjects.EVENTS_STREAM, subjects_filter=subjects.pool_tasks(name))
    return sum((stream.state.subjects or {}).values())


class Settings:
    """The operators' settings of lanes, each read when it is asked for."""

    def __init__(self, deps: Deps, names: list[str]) -> None:
        self.names = names
        self._deps = deps
        self._read: dict[str, LaneSetting | None] = {}

    @classmethod
    async def of(cls, deps: Deps) -> Settings:
        return cls(deps, [name_of(key) for key in await controls_bucket.keys(deps, PREFIX)])

    async def effective(self, name: str) -> tuple[str, LaneSetting]:
        """Returns (the name or pattern that the lane is set by, the setting); an empty name if nothing is set."""
        names = self.names
        while (set_as := name_for(name, names)) is not None:
            if set_as not in self._read:
                self._read[set_as], _ = await controls_bucket.read(self._deps, control_key(set_as), LaneSetting)
            setting = self._read[set_as]
            if setting is not None:
                return set_as, msgspec.structs.replace(setting, limit=None) if lane_fold.is_lock(name) else setting
            names = [other for other in names if other != set_as]  # it was deleted
        return "", LaneSetting()


async def effective(deps: Deps, name: str) -> tuple[str, LaneSetting]:
    return await (await Settings.of(deps)).effective(name)


async def pool(deps: Deps, name: str) -> Pool:
    """Returns a worker pool as the server sees it. `known` is False if no worker has ever served one of this name."""
    return await _served(deps, name, *await effective(deps, name))


def _unknown(set_as: str, setting: LaneSetting) -> Pool:
    return Pool(False, paused=setting.paused, reason=setting.reason, set_as=set_as, paused_until=setting.paused_until)


async def _served(deps: Deps, name: str, set_as: str, setting: LaneSetting) -> Pool:
    unknown = _unknown(set_as, setting)
    if not _POOL.match(name):
        return unknown
    try:
        info = await deps.nc.jsm().consumer_info(subjects.EVENTS_STREAM, subjects.pool_durable(name))
    except StreamNotFoundError:
        return unknown
    return _pool(info, set_as, setting)


def _pool(info: api.ConsumerInfo, set_as: str, setting: LaneSetting) -> Pool:
    return Pool(
        set_as=set_as,
        asking=info.num_waiting or 0,
        active=info.num_ack_pending or 0,
        queued=info.num_pending or 0,
        paused=setting.paused,
        reason=setting.reason,
        limit=setting.limit,
        paused_until=setting.paused_until,
    )


async def read_slots(deps: Deps, name: str) -> LaneState | None:
    """Returns a keyed lane as its log gives it, or None if no step has ever asked for a slot."""
    return await _read_slots(deps, lane_fold.key_of_lane(name))


async def _read_slots(deps: Deps, key: subjects.EntityKey) -> LaneState | None:
    fold, used = LaneFold(key), False
    async for stored in deps.log.messages(subjects.run_all(key)):
        event = readable(stored.subject, stored.data)
        if event is not None:
            fold.add(event, stored.seq)
            used = True
    return fold.finish() if used else None


class _Known(msgspec.Struct):
    """Every lane that is served, used or set, and every pool that steps are offered to."""

    settings: Settings
    pools: dict[str, api.ConsumerInfo]  # by name
    unserved: dict[str, int]  # by name of a pool that no worker has ever served: steps that are offered to it
    keyed: dict[str, subjects.EntityKey]  # by the entity's name

    @classmethod
    async def of(cls, deps: Deps) -> _Known:
        jsm = deps.nc.jsm()
        pools: dict[str, api.ConsumerInfo] = {}
        for info in await durable_consumers(deps.nc, subjects.EVENTS_STREAM):
            durable = str(info.config.durable_name)
            if durable.startswith(_DURABLE):
                pools[durable.removeprefix(_DURABLE)] = info
        stream = await jsm.stream_info(subjects.EVENTS_STREAM, subjects_filter=subjects.ALL_LANE_INS)
        keys = [key for subject in stream.state.subjects or {} if (key := subjects.parse(subject)) is not None]
        offered = deps.load.admission.offered()
        unserved = {name: steps for name, steps in offered.items() if name not in pools and _POOL.match(name)}
        return cls(await Settings.of(deps), pools, unserved, {key.name: key for key in keys})

    def places(self) -> list[Place]:
        pools = {*self.pools, *self.unserved}
        of_pools = {lane_fold.key_of_lane(name).name for name in pools}
        only_set = [
            name
            for name in sorted(self.settings.names)
            if name not in pools and lane_fold.key_of_lane(name).name not in self.keyed
        ]
        return [
            *((0, name) for name in sorted(pools)),
            *((1, name) for name in sorted(self.keyed) if name not in of_pools),
            *((2, name) for name in only_set),
        ]

    async def read(self, deps: Deps, place: Place) -> Lane | None:
        """Returns None for a lane that turns out to have been deleted, or never used."""
        kind, name = place
        key = self.keyed.get(name if kind == 1 else lane_fold.key_of_lane(name).name)
        state = await _read_slots(deps, key) if key is not None else None
        if kind == 1:
            if state is None or not state.lane:
                return None
            name = state.lane
        set_as, setting = await self.settings.effective(name)
        if kind == 2 and set_as != name:
            return None
        pool = None
        if name in self.pools:
            pool = _pool(self.pools[name], set_as, setting)
        elif name in self.unserved:
            pool = msgspec.structs.replace(_unknown(set_as, setting), queued=self.unserved[name], limit=setting.limit)
        return Lane(name, setting, pool, state if state is not None and state.lane else None, set_as)


async def find_page(deps: Deps, after: Place | None, limit: int) -> tuple[list[Lane], Place | None]:
    """Returns (a page of lanes by name, where the next one begins).

    Pools come first, then keyed lanes, then lanes for which something is set and nothing more is known.
    """
    known = await _Known.of(deps)
    left = [place for place in known.places() if after is None or place > after]
    shown = left[:limit]
    bounded = asyncio.Semaphore(_AT_ONCE)

    async def read(place: Place) -> Lane | None:
        async with bounded:
            return await known.read(deps, place)

    lanes = await asyncio.gather(*(read(place) for place in shown))
    present = sorted((lane for lane in lanes if lane is not None), key=lambda lane: lane.name)
    return present, shown[-1] if len(left) > limit else None


def changed(before: LaneSetting, change: LaneChange, by: str, now_ms: int) -> LaneSetting:
    """Returns the setting after the change; `before` itself if nothing changes. InvalidError for a bad value."""
    problems = []
    rate, rate_fix = change.rate_per_s, f"use up to {RATE_MAX:,.10g} a second, or 0 for no rate"
    if change.limit is not None and not 0 <= change.limit <= LIMIT_MAX:
        problems.append(Problem("limit", f"{change.limit:,} is out of range", f"use 1 to {LIMIT_MAX:,}, or 0 for none"))
    if rate is not None and not 0 <= rate <= RATE_MAX:
        problems.append(Problem("rate_per_s", f"{rate:,.10g} a second is out of range", rate_fix))
    if change.limit is None and rate is None and change.paused is None:
        problems.append(Problem("lane", "the request changes nothing", "give a limit, a rate, or pause or resume it"))
    if change.until and not change.paused:
        problems.append(Problem("until", "only a pause has an end", "pause the lane, or leave it out"))
    if problems:
        raise InvalidError.of(problems, "the lane can't be set")
    limits.check_until(change.until, now_ms)
    after = LaneSetting(
        limit=before.limit if change.limit is None else change.limit or None,
        rate_per_s=before.rate_per_s if rate is None else rate or None,
        paused=before.paused if change.paused is None else change.paused,
        reason=before.reason if change.paused is None else change.reason * change.paused,
        paused_until=before.paused_until if change.paused is None else change.until,
    )
    same = msgspec.structs.replace(before, by="", at=0) == after
    return before if same else msgspec.structs.replace(after, by=by, at=now_ms)


def check_kind(lane: Lane, change: LaneChange) -> None:
    """Raises InvalidError for a rate of a worker pool, to which workers would not keep, and for a limit of a lock."""
    if lane_fold.is_lock(lane.name) and change.limit not in {None, 0, 1}:
        text = f"{lane.name!r} is a lock, which one run has at a time"
        raise InvalidError.at("limit", text, "use `run_lane` where several may", kind="limit_of_a_lock")
    if change.rate_per_s and lane.pool is not None and lane.keyed is None:
        raise InvalidError.at(
            "rate_per_s",
            f"{lane.name!r} is a worker pool; only keyed lanes have a rate",
            "use a keyed lane: make `lane` of the steps a template such as '{{org}}-calls'; or set a limit",
            kind="rate_of_a_pool",
        )


async def set_lane(call: Call, name: str, change: LaneChange) -> Lane:
    """Changes a lane's setting, durably. Needs the permission `operator`: a lane serves all orgs."""
    auth_rules.require(call.identity, "operator", "SetLane (a lane serves all orgs)")
    change = msgspec.structs.replace(change, reason=await call.safe_reason(change.reason))
    deps, key = call.deps, control_key(check_name(name))
    check_kind(await get(deps, name), change)
    for _ in range(_TRIES_MAX):
        own, revision = await controls_bucket.read(deps, key, LaneSetting)
        before = own or (await effective(deps, name))[1]  # a pattern applies until the lane has its own setting
        after = changed(before, change, call.identity.actor, call.now_ms())
        if after is before or await controls_bucket.write(deps, key, after, revision):
            return await get(deps, name)
    raise ConflictError("other callers are changing this lane; try again")


async def get_known(deps: Deps, name: str) -> Lane:
    """Returns a lane that is served, used or set. NotFoundError for any other."""
    lane = await get(deps, name)
    if lane.pool is None and lane.keyed is None and not lane.setting.at:
        some, _ = await find_page(deps, None, 12)
        names = ", ".join(repr(item.name[:80]) for item in some) or "none yet"
        raise NotFoundError(f"there is no lane {name!r}; the lanes are: {names}", kind="unknown_lane")
    return lane


def holders(lane: Lane, org: str) -> list[str]:
    """Returns `run/step`, or the run, of those that have a slot of a keyed lane. Other orgs' are not named."""
    slots: Any = lane.keyed.holders.values() if lane.keyed is not None else ()
    return [slot.place for slot in slots if slot.org == org][:HOLDERS_MAX]
