"""Lanes: worker pools and keyed lanes, their limits, who holds them. Limits live in AF_CONTROLS, by name or by pattern
(`acme-*`); schedulers and workers watch it."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import msgspec
from nats.js import api
from nats.js.errors import NotFoundError as StreamNotFoundError

from agentflow_common import subjects
from agentflow_common.definition.checks.lanes import RATE_MAX
from agentflow_common.errors import ConflictError, InvalidError, NotFoundError, Problem
from agentflow_common.lanes import fold as lane_fold
from agentflow_common.lanes.controls import LIMIT_MAX, NAME_MAX, PREFIX, control_key, name_for, name_of
from agentflow_common.lanes.fold import LaneFold, LaneState
from agentflow_common.runs.explain import Pool
from agentflow_common.runs.fold import readable
from agentflow_gateway import auth_rules, limits
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.operations import controls_bucket
from agentflow_gateway.operations.controls_bucket import LaneSetting

PAGE_SIZE: Final = 200  # each keyed lane that is listed is read from its log
_AT_ONCE: Final = 16
HOLDERS_MAX: Final = 20
_POOL: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_TRIES_MAX: Final = 5
_DURABLE: Final = subjects.pool_durable("")


class Lane(msgspec.Struct, frozen=True):
    """setting: what holds for it, by its own name or by a pattern (set_as). pool: as the server sees the worker pool of
    this name, None if there is none. keyed: the ledger, likewise."""

    name: str
    setting: LaneSetting
    pool: Pool | None = None
    keyed: LaneState | None = None
    set_as: str = ""

    @property
    def is_keyed(self) -> bool:
        """A name that no pool can have, or one with a rate, is a keyed lane's, or a pattern of them."""
        rated = self.pool is None and self.setting.rate_per_s is not None
        return self.keyed is not None or rated or not _POOL.match(self.name)


class Wanted(msgspec.Struct, frozen=True):
    """What is to change. limit 0 and rate 0.0: nothing is set here any more. None: stays as it is."""

    limit: int | None = None
    rate_per_s: float | None = None
    paused: bool | None = None
    reason: str = ""


def check_name(name: str) -> str:
    limits.check_text(name, "name", NAME_MAX)
    if not name:
        raise InvalidError("no lane is named", problems=(Problem("name", "empty", "name a lane"),))
    return name


async def get(deps: Deps, name: str) -> Lane:
    set_as, setting = await effective(deps, check_name(name))
    found, keyed = await asyncio.gather(_served(deps, name, set_as, setting), ledger(deps, name))
    return Lane(name, setting, found if found.known else None, keyed, set_as)


class Settings:
    """What operators have set, read as it is asked for."""

    def __init__(self, deps: Deps, names: list[str]) -> None:
        self.names = names
        self._deps = deps
        self._read: dict[str, LaneSetting | None] = {}

    @classmethod
    async def of(cls, deps: Deps) -> Settings:
        return cls(deps, [name_of(key) for key in await controls_bucket.keys(deps, PREFIX)])

    async def effective(self, name: str) -> tuple[str, LaneSetting]:
        """What holds for a lane, and the name or pattern that it is set by; empty if nothing is set."""
        names = self.names
        while (set_as := name_for(name, names)) is not None:
            if set_as not in self._read:
                self._read[set_as], _ = await controls_bucket.read(self._deps, control_key(set_as), LaneSetting)
            setting = self._read[set_as]
            if setting is not None:
                return set_as, setting
            names = [other for other in names if other != set_as]  # it was deleted
        return "", LaneSetting()


async def effective(deps: Deps, name: str) -> tuple[str, LaneSetting]:
    return await (await Settings.of(deps)).effective(name)


async def pool(deps: Deps, name: str) -> Pool:
    """A worker pool as the server sees it; `known` is False if no worker has ever served one of this name."""
    return await _served(deps, name, *await effective(deps, name))


async def _served(deps: Deps, name: str, set_as: str, setting: LaneSetting) -> Pool:
    unknown = Pool(known=False, paused=setting.paused, reason=setting.reason, set_as=set_as)
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
    )


async def ledger(deps: Deps, name: str) -> LaneState | None:
    """A keyed lane as its log says, or None if nothing was ever asked of it."""
    return await _ledger(deps, lane_fold.key_of_lane(name))


async def _ledger(deps: Deps, key: subjects.EntityKey) -> LaneState | None:
    fold, after, seen = LaneFold(key), 0, False
    while True:
        chunk = await deps.log.read(subjects.run_all(key), after, 500)
        for stored in chunk:
            event = readable(stored.subject, stored.data)
            if event is not None:
                fold.add(event, stored.seq)
                seen = True
            after = stored.seq
        if len(chunk) < 500:
            return fold.finish() if seen else None


Place = tuple[int, str]  # 0: a pool, by name; 1: a keyed lane, by the run key of its log; 2: only a setting, by name


async def listed(deps: Deps, after: Place | None, limit: int) -> tuple[list[Lane], Place | None]:
    """(a page of lanes by name, where the next one begins). Pools come first, then keyed lanes, then mere settings."""
    jsm = deps.nc.jsm()
    settings = await Settings.of(deps)
    pools: dict[str, api.ConsumerInfo] = {}
    for info in await jsm.consumers_info(subjects.EVENTS_STREAM):
        durable = str(info.config.durable_name or info.name)
        if durable.startswith(_DURABLE):
            pools[durable.removeprefix(_DURABLE)] = info
    stream = await jsm.stream_info(subjects.EVENTS_STREAM, subjects_filter=subjects.ALL_LANE_INS)
    keys = [key for subject in stream.state.subjects or {} if (key := subjects.parse(subject)) is not None]
    keyed = {key.name: key for key in keys}
    of_pools = {lane_fold.key_of_lane(name).name for name in pools}
    places: list[Place] = [
        *((0, name) for name in sorted(pools)),
        *((1, run) for run in sorted(keyed) if run not in of_pools),
        *((2, n) for n in sorted(settings.names) if n not in pools and lane_fold.key_of_lane(n).name not in keyed),
    ]
    left = [place for place in places if after is None or place > after]
    shown = left[:limit]
    bounded = asyncio.Semaphore(_AT_ONCE)

    async def read(place: Place) -> Lane | None:
        kind, name = place
        key = keyed.get(name if kind == 1 else lane_fold.key_of_lane(name).name)
        async with bounded:
            state = await _ledger(deps, key) if key is not None else None
            if kind == 1:
                if state is None or not state.lane:
                    return None
                name = state.lane
            set_as, setting = await settings.effective(name)
        if kind == 2 and set_as != name:
            return None  # it was deleted
        pool = _pool(pools[name], set_as, setting) if name in pools else None
        return Lane(name, setting, pool, state if state is not None and state.lane else None, set_as)

    found = await asyncio.gather(*(read(place) for place in shown))
    lanes = sorted((lane for lane in found if lane is not None), key=lambda lane: lane.name)
    return lanes, shown[-1] if len(left) > limit else None


def changed(before: LaneSetting, wanted: Wanted, by: str, now_ms: int) -> LaneSetting:
    """The setting with what is wanted put over it; `before` itself if nothing changes. InvalidError out of bounds."""
    problems = []
    if wanted.limit is not None and not 0 <= wanted.limit <= LIMIT_MAX:
        problems.append(Problem("limit", f"{wanted.limit} is out of range", f"use 1 to {LIMIT_MAX:,}, or 0 for none"))
    rate = wanted.rate_per_s
    if rate is not None and not 0 <= rate <= RATE_MAX:
        problems.append(Problem("rate_per_s", f"{rate:g} is out of range", f"use up to {RATE_MAX:g}, or 0 for none"))
    if wanted.limit is None and rate is None and wanted.paused is None:
        problems.append(Problem("lane", "nothing is to change", "give a limit, a rate, or pause or resume it"))
    if problems:
        raise InvalidError(f"the lane can't be set: {problems[0]}", problems=tuple(problems))
    after = LaneSetting(
        limit=before.limit if wanted.limit is None else wanted.limit or None,
        rate_per_s=before.rate_per_s if rate is None else rate or None,
        paused=before.paused if wanted.paused is None else wanted.paused,
        reason=before.reason if wanted.paused is None else wanted.reason * wanted.paused,
    )
    same = msgspec.structs.replace(before, by="", at=0) == after
    return before if same else msgspec.structs.replace(after, by=by, at=now_ms)


def check_kind(lane: Lane, wanted: Wanted) -> None:
    """InvalidError for a rate of a worker pool: nobody would keep to it."""
    if wanted.rate_per_s and lane.pool is not None and lane.keyed is None:
        fix = "use a keyed lane: make `lane` of the steps a template such as '{{org}}-calls'; or set a limit"
        raise InvalidError(
            f"{lane.name!r} is a worker pool, and a rate is of keyed lanes: {fix}",
            kind="rate_of_a_pool",
            problems=(Problem("rate_per_s", f"{lane.name!r} is a worker pool", fix),),
        )


async def set_lane(deps: Deps, call: Call, name: str, wanted: Wanted) -> Lane:
    """Durable on return. Needs the permission `operator`: a lane serves all orgs."""
    auth_rules.require(call.identity, "operator", "SetLane (a lane serves all orgs)")
    wanted = msgspec.structs.replace(wanted, reason=await call.safe_reason(deps.nc, wanted.reason))
    key = control_key(check_name(name))
    check_kind(await get(deps, name), wanted)
    for _ in range(_TRIES_MAX):
        found, revision = await controls_bucket.read(deps, key, LaneSetting)
        before = found or (await effective(deps, name))[1]  # what a pattern says holds until the lane has its own
        after = changed(before, wanted, call.identity.actor, deps.clock.now_ms())
        if after is not before and not await controls_bucket.write(deps, key, after, revision):
            continue
        return await get(deps, name)
    raise ConflictError("others change this lane just now; try again")


async def known(deps: Deps, name: str) -> Lane:
    """A lane that is served, used or set. NotFoundError for any other."""
    lane = await get(deps, name)
    if lane.pool is None and lane.keyed is None and not lane.setting.at:
        some, _ = await listed(deps, None, 12)
        names = ", ".join(repr(item.name[:80]) for item in some) or "none yet"
        raise NotFoundError(f"there is no lane {name!r}; there are {names}", kind="unknown_lane")
    return lane


def holders(lane: Lane, org: str) -> list[str]:
    """`run/step` of those that hold a keyed lane; other orgs' are not named."""
    slots: Any = lane.keyed.holders.values() if lane.keyed is not None else ()
    return [f"{slot.run}/{slot.step}" for slot in slots if slot.org == org][:HOLDERS_MAX]
