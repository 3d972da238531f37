"""Bugs to plant: each is a change of the machine or of a shell that the simulation must find."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from afsim import (
    mutations_breakpoints,
    mutations_chains,
    mutations_failures,
    mutations_items,
    mutations_locks,
    mutations_pauses,
    mutations_run_lanes,
    mutations_semantics,
    mutations_together,
)
from afsim.client import Client
from afsim.shell import patched
from agentflow_common import events as ev
from agentflow_common.log import consumers, event_log
from agentflow_common.runs import fold as run_fold
from agentflow_common.runs import fold_facts
from agentflow_common.runs import state as run_state
from agentflow_common.runs.state import RunState, StepStatus
from agentflow_scheduler.engine import append, decider, engine, memory, timers
from agentflow_scheduler.runs import decisions as run_decisions
from agentflow_scheduler.runs import run
from agentflow_scheduler.runs.steps import advance, expansion, inputs, verdict
from agentflow_scheduler.shards import shards, snapshots
from agentflow_worker.tasks import executor, reports, step_calls

Change = tuple[Any, str, Any]


def no_fence() -> list[Change]:
    """The scheduler's appends are not fenced: whoever thinks that it owns a run writes."""
    real = append.Turn.entry
    return [(append.Turn, "entry", lambda self, index, _fence: real(self, index, None))]


def ack_before_report() -> list[Change]:
    """A worker acknowledges a task before it runs it."""
    real = executor.Executor._run_chain

    async def run_chain(self: Any, chain: Any) -> None:
        await self._log.ack(chain.delivery)
        await real(self, chain)

    return [(executor.Executor, "_run_chain", run_chain)]


def no_timers_on_recovery() -> list[Change]:
    """Timers that were decided, and not yet set when the scheduler crashed, are not set by the next one."""
    real = timers.set_timers

    async def set_timers(log: Any, its_timers: Any) -> None:
        recovering = all(isinstance(timer, run_state.TimerState) for _, _, timer in its_timers)
        if not recovering:
            await real(log, its_timers)

    return [(engine, "set_timers", set_timers), (decider, "set_timers", set_timers)]


def seen_ignored() -> list[Change]:
    """The fold takes facts as they stand in the log, and not as the scheduler had seen them."""

    def add(self: Any, event: ev.Event, seq: int) -> None:
        if isinstance(event, ev.Decision) or type(event) in run_fold.FACTS:
            self._apply(seq, event)

    return [(run_fold.RunFold, "add", add)]


def retry_without_limit() -> list[Change]:
    """A failed attempt is tried again whatever its number."""
    return [(verdict, "_may_retry", lambda _retry, error, attempt: bool(attempt) and attempt < 9 and error.retryable)]


def no_claim() -> list[Change]:
    """Nothing is claimed before an effect."""
    return [(step_calls.StepCalls, "must_claim", lambda _self, _task: False)]


def snapshot_off_by_one() -> list[Change]:
    """A snapshot says that it holds one event more than it does."""
    real = snapshots.encode_snapshot
    return [(snapshots, "encode_snapshot", lambda seq, states: real(seq + 1, states))]


def no_message_id() -> list[Change]:
    """A report that is written again is written twice."""
    real = reports.Entry

    def entry(subject: str, data: bytes, msg_id: str = "", **rest: Any) -> event_log.Entry:
        return real(subject, data, **rest)

    return [(reports, "Entry", entry)]


def no_reload() -> list[Change]:
    """After a refused append the scheduler goes on with what it has in memory."""

    async def reload(self: Any, key: Any, _known: int = 0) -> Any:
        return self.entities.get(key)

    return [(memory.Memory, "reload", reload)]


def shared_timer_names() -> list[Change]:
    """The retry timers of all steps of a run have one name."""
    real = run_decisions.RunDecisions.record

    def record(self: Any, event_type: Any, fields: dict[str, Any]) -> None:
        if event_type is ev.TimerSet and fields["kind"] == "retry":
            fields["timer"] = "retry"
        real(self, event_type, fields)

    return [(run_decisions.RunDecisions, "record", record)]


def joined_twice() -> list[Change]:
    """A parallel step is joined again after a crash."""
    real = advance.advance

    def look(its_run: Any, out: Any, key: str) -> None:
        step = its_run.state.steps.get(key)
        again = step is not None and step.width >= 0 and step.status is StepStatus.COMPLETED
        if again and key not in its_run.decided:
            out.emit(ev.StepJoined, step=key, status="completed")
        real(its_run, out, key)

    return [(advance, "advance", look)]


def cancel_ignored() -> list[Change]:
    """A cancel is written down and not acted upon."""
    real = run_fold.evolve

    def evolve(state: RunState, event: ev.Event, seq: int) -> None:
        real(state, event, seq)
        state.cancel_requested = False

    return [(run, "evolve", evolve)]


def late_reports_count() -> list[Change]:
    """A report of an earlier attempt, or one that comes too late, is taken for the present one's."""

    def active(state: RunState, key: str, attempt: int) -> Any:
        step = state.steps.get(key)
        return None if step is None or step.status is StepStatus.CANCELLED else step

    return [(fold_facts, "_active", active)]


def unknown_append_ignored() -> list[Change]:
    """An append whose acknowledgement did not come is taken for written."""
    real = append.Appender.write

    async def write(self: Any, turns: Any) -> Any:
        failed = await real(self, turns)
        return [(turn, error) for turn, error in failed if getattr(error, "kind", "") != "append_unknown"]

    return [(append.Appender, "write", write)]


def fan_out_not_resumed() -> list[Change]:
    """Children of a parallel step that were not offered when the scheduler crashed are never offered."""
    real_expand, real_room = expansion.expand, expansion._room

    def expand(at: Any) -> None:
        at.run.next_children[at.key] = list(reversed(range(len(inputs.items_of(at.out, at.node, at.key)[1]))))
        real_expand(at)

    def room(at: Any) -> int:
        return real_room(at) if at.key in at.run.next_children else 0

    return [(expansion, "expand", expand), (advance._BEGIN, "map", expand), (expansion, "_room", room)]


def tail_from_the_end() -> list[Change]:
    """After recovery the tail begins behind what had come meanwhile."""
    real = shards.recover

    async def recover(log: Any, store: Any, shards: Any) -> Any:
        found = await real(log, store, shards)
        return found._replace(last=await log.last_seq())

    return [(shards, "recover", recover)]


def skip_unordered() -> list[Change]:
    """A step is offered when one of the steps that it waits for is decided."""
    real = run.Run.mark_final

    def mark_final(its_run: Any, key: str) -> None:
        real(its_run, key)
        if run_state.parent_of(key) is None and not key.endswith(run_state.UNDO):
            for target in its_run.plan.nodes[run_state.node_of(key)].targets:
                if its_run.blockers(target) > 0:
                    its_run.blockers_left[target] = 0
                    its_run.dirty[target] = None

    return [(run.Run, "mark_final", mark_final)]


def heartbeats_unheeded() -> list[Change]:
    """A tail does not notice that its last delivery was lost."""
    return [(consumers.Tail, "_on_heartbeat", lambda _self, _last: None)]


def holes_unheeded() -> list[Change]:
    """A read of the log takes what came for all there is."""
    real = Client.deliver

    def deliver(self: Any, inbox: str, reply: str, data: bytes, headers: dict[str, str] | None, **rest: Any) -> None:
        kept = {name: value for name, value in (headers or {}).items() if name != "Nats-Last-Sequence"}
        real(self, inbox, reply, data, kept, **rest)

    return [(Client, "deliver", deliver)]


MUTATIONS: dict[str, Callable[[], list[Change]]] = {
    change.__name__: change
    for change in (
        no_fence, ack_before_report, no_timers_on_recovery, seen_ignored, retry_without_limit, no_claim,
        snapshot_off_by_one, no_message_id, no_reload, shared_timer_names, joined_twice, cancel_ignored,
        late_reports_count, unknown_append_ignored, fan_out_not_resumed, tail_from_the_end,
        skip_unordered, heartbeats_unheeded, holes_unheeded,
        *mutations_failures.ALL, *mutations_chains.ALL, *mutations_semantics.ALL,
        *mutations_run_lanes.ALL, *mutations_items.ALL, *mutations_locks.ALL, *mutations_pauses.ALL,
        *mutations_breakpoints.ALL, *mutations_together.ALL,
    )
}  # fmt: skip


@contextlib.contextmanager
def planted(name: str | None) -> Iterator[None]:
    """The engine with one of the bugs, or as it is."""
    with patched(*(MUTATIONS[name]() if name else [])):
        yield
