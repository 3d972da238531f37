"""The secrets of a schedule's webhook: which are valid now, and their rotation with an overlap.

A secret is derived from its number (webhook_signatures.secret_of), which is in the spec as `trigger.key_version`. Until
`trigger.old_key_until`, the number before it is valid too.
"""

from __future__ import annotations

import contextlib
from typing import Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import ConflictError, InvalidError, OverloadedError, TerminalError
from agentflow_common.log.event_log import Fence
from agentflow_common.schedules import fire_times
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.field_types import DAY_MS
from agentflow_common.schedules.spec import Spec
from agentflow_common.schedules.state import ScheduleState
from agentflow_gateway.api.call import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.schedules import commands, webhook_signatures

OVERLAP_MS_MAX: Final = 30 * DAY_MS
_TRIES: Final = 5  # against other changes of the schedule at the same moment


class Keys(msgspec.Struct, frozen=True):
    """The valid secrets of a webhook."""

    version: int
    secrets: tuple[str, ...]  # the newest, and the one before it if it is valid
    old_until: int = 0  # ms until which the one before is valid, 0 if it is not


def keys_of(master: bytes, org: str, uid: str, spec: Spec, now_ms: int) -> Keys:
    """Returns the secrets that are valid at a time. Pure."""
    trigger = spec.trigger
    until = 0
    if trigger.old_key_until and trigger.key_version > 1:
        until = fire_times.parse_time(trigger.old_key_until, fire_times.zone(spec.time_zone))
    versions = [trigger.key_version] + ([trigger.key_version - 1] if until > now_ms else [])
    secrets = tuple(webhook_signatures.secret_of(master, org, spec.name, uid, version) for version in versions)
    return Keys(trigger.key_version, secrets, until if until > now_ms else 0)


def keys(deps: Deps, state: ScheduleState) -> Keys:
    """Returns the secrets that are valid now. TerminalError if the schedule has no webhook."""
    spec = schedule_spec.trusted(state.spec)
    if not spec.trigger.webhook:
        raise TerminalError(
            f"the schedule {state.name!r} has no webhook: add `trigger: {{webhook: true}}`", kind="no_webhook"
        )
    return keys_of(deps.secret, state.org, state.uid, spec, deps.clock.now_ms())


async def rotate(call: Call, name: str, overlap_ms: int, end_overlap: bool) -> ScheduleState:
    """Makes a new secret; the one before it stays valid for `overlap_ms`.

    end_overlap: makes no new one, and revokes the one before. TerminalError while an overlap lasts: another rotation
    would lock out the senders that still use the oldest secret.
    """
    if not 0 <= overlap_ms <= OVERLAP_MS_MAX or (end_overlap and overlap_ms):
        fix = f"give 0 to {OVERLAP_MS_MAX} ms (30 days), and none together with end_overlap"
        raise InvalidError.at("overlap_ms", f"the overlap {overlap_ms} ms is not valid", fix)
    key = commands.key_of(call.org, name)
    for _ in range(_TRIES):
        newest = await call.deps.log.newest(subjects.run_in(key))
        state = await commands.find(call, name)
        current = keys(call.deps, state)
        if end_overlap and not current.old_until:
            return state
        if overlap_ms and current.old_until:
            at = fire_times.from_ms(current.old_until).isoformat(timespec="seconds")
            raise TerminalError(
                f"the secret of {name!r} was already rotated, and the one before is valid until {at}: end that overlap "
                "first (`agentctl schedule rotate NAME --end-overlap`), or rotate without one, which revokes both",
                kind="rotation_under_way",
            )
        trigger = {**state.spec["trigger"], "key_version": current.version + (0 if end_overlap else 1)}
        trigger.pop("old_key_until", None)
        if overlap_ms:
            trigger["old_key_until"] = fire_times.from_ms(call.now_ms() + overlap_ms).isoformat()
        event = ev.ScheduleUpdated(
            **call.header(key.name),
            by=call.identity.actor,
            spec={**state.spec, "trigger": trigger},
            calendars=state.calendars,
        )
        with contextlib.suppress(ConflictError):
            await call.append(event, fence=Fence(newest))
            return await commands.remembered(call, key)
    raise OverloadedError(f"the schedule {name!r} changes too fast; try again", kind="conflict")
