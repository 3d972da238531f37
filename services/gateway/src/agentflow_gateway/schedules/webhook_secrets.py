"""The secrets of a schedule's webhook: which are good now, and their rotation with an overlap.

A secret is its number's (webhooks.secret_of); the number stands in the spec, `trigger.key_version`. While
`trigger.old_key_until` has not come, the number before it is good too.
"""

from __future__ import annotations

import contextlib
from typing import Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import ConflictError, InvalidError, OverloadedError, Problem, TerminalError
from agentflow_common.log.event_log import Fence
from agentflow_common.schedules import fire_times
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.field_types import DAY_MS
from agentflow_common.schedules.fold import ScheduleState
from agentflow_common.schedules.spec import Spec
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.schedules import commands as schedules
from agentflow_gateway.schedules import webhook_signatures

OVERLAP_MS_MAX: Final = 30 * DAY_MS
_TRIES: Final = 5  # against what else is said to the schedule at the same moment


class Keys(msgspec.Struct, frozen=True):
    """secrets: the newest, and the one before it if it is good. old_until: until when that is, ms; 0: it is not."""

    version: int
    secrets: tuple[str, ...]
    old_until: int = 0


def keys_of(master: bytes, org: str, uid: str, spec: Spec, now_ms: int) -> Keys:
    """Pure."""
    trigger = spec.trigger
    until = 0
    if trigger.old_key_until and trigger.key_version > 1:
        until = fire_times.parse_time(trigger.old_key_until, fire_times.zone(spec.time_zone))
    versions = [trigger.key_version] + ([trigger.key_version - 1] if until > now_ms else [])
    secrets = tuple(webhook_signatures.secret_of(master, org, spec.name, uid, version) for version in versions)
    return Keys(trigger.key_version, secrets, until if until > now_ms else 0)


def keys(deps: Deps, state: ScheduleState) -> Keys:
    """TerminalError if the schedule has no webhook."""
    spec = schedule_spec.trusted(state.spec)
    if not spec.trigger.webhook:
        raise TerminalError(
            f"the schedule {state.name!r} has no webhook: add `trigger: {{webhook: true}}`", kind="no_webhook"
        )
    return keys_of(deps.secret, state.org, state.uid, spec, deps.clock.now_ms())


async def rotate(deps: Deps, call: Call, name: str, overlap_ms: int, end_overlap: bool) -> ScheduleState:
    """A new secret; the one before it is good for `overlap_ms`. end_overlap: no new one, the one before is void.

    TerminalError while an overlap goes on: another rotation would cut off who still uses the oldest.
    """
    if not 0 <= overlap_ms <= OVERLAP_MS_MAX or (end_overlap and overlap_ms):
        fix = f"give 0 to {OVERLAP_MS_MAX} ms (30 days), and none together with end_overlap"
        raise InvalidError(
            f"the overlap {overlap_ms} ms is not valid ({fix})", problems=(Problem("overlap_ms", "not valid", fix),)
        )
    for _ in range(_TRIES):
        key = schedules.key_of(call.org, name)
        newest = await deps.log.newest(subjects.run_in(key))
        state = await schedules.find(deps, call, name)
        known = keys(deps, state)
        if end_overlap and not known.old_until:
            return state
        if overlap_ms and known.old_until:
            at = fire_times.from_ms(known.old_until).isoformat(timespec="seconds")
            raise TerminalError(
                f"the secret of {name!r} was changed already, and the one before is good until {at}: end that overlap "
                "first (`agentctl schedule rotate NAME --end-overlap`), or rotate without one, which voids both",
                kind="rotation_under_way",
            )
        trigger = {**state.spec["trigger"], "key_version": known.version + (0 if end_overlap else 1)}
        trigger.pop("old_key_until", None)
        if overlap_ms:
            trigger["old_key_until"] = fire_times.from_ms(deps.clock.now_ms() + overlap_ms).isoformat()
        event = ev.ScheduleUpdated(
            **schedules.base(deps, call, key), by=call.identity.actor,
            spec={**state.spec, "trigger": trigger}, calendars=state.calendars,
        )  # fmt: skip
        with contextlib.suppress(ConflictError):
            await schedules.append(deps, call, key, event, fence=Fence(newest))
            return await schedules.remembered(deps, key)
    raise OverloadedError(f"the schedule {name!r} changes too fast; try again", kind="conflict")
