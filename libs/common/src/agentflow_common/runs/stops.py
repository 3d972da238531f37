"""The breakpoints of a run, and the steps before which it is stopped. Pure.

A breakpoint is a node of the definition. The run stops before each visit of it. Then it begins no step at all, as if it
were paused, until it is asked to continue.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from agentflow_common import events as ev


class Stops(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a run stops. A run that was never given a breakpoint has none of this."""

    at: tuple[str, ...] = ()  # nodes before which it stops
    every: bool = False  # it stops before every node
    to: str = ""  # a node before which it stops once, as it was continued up to it
    before: tuple[str, ...] = ()  # the steps before which it is stopped now
    number: int = 0  # how often it has stopped
    passed: tuple[str, ...] = ()  # steps before which it was stopped, and that may begin now
    changed: dict[str, str] = {}  # by value that was changed during a stop, `a.output` or `state.n`: by whom
    asked: bool = False  # breakpoints were set or removed, and no scheduler has decided anything since

    def stop_before(self, key: str, node: str) -> bool:
        """True if the run stops before this step of the node begins."""
        return key not in self.passed and (self.every or node in self.at or node == self.to)


def changed(stops: Stops | None, event: ev.RunBreakRequested) -> Stops:
    """Returns the breakpoints after a request to set some or to remove some; without names it removes all."""
    before = stops or Stops()
    if not event.remove:
        at = tuple(dict.fromkeys([*before.at, *event.at]))
        return msgspec.structs.replace(before, at=at, every=before.every or event.every, asked=True)
    everything = not event.at and not event.every
    at = () if everything else tuple(name for name in before.at if name not in event.at)
    every = before.every and not (everything or event.every)
    return msgspec.structs.replace(before, at=at, every=every, asked=True)


def continued(stops: Stops | None, event: ev.RunContinueRequested, begun: Callable[[str], bool]) -> Stops | None:
    """Returns the breakpoints after a request to continue. One about an earlier stop changes nothing."""
    if stops is None or not stops.before or event.stop != stops.number:
        return stops
    passed = tuple(key for key in (*stops.passed, *stops.before) if not begun(key))
    places = [*(f"{key}.output" for key in event.outputs), *(f"state.{key}" for key in event.state)]
    by = {**stops.changed, **dict.fromkeys(places, event.by)}
    return msgspec.structs.replace(stops, before=(), every=event.every, to=event.to, passed=passed, changed=by)
