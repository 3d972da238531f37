"""Bugs to plant in what a worker goes on with by itself. See mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow_common.log.event_log import Ack
from agentflow_common.runs import fold_facts
from agentflow_scheduler.engine import pools
from agentflow_scheduler.runs import chain
from agentflow_worker import machine
from agentflow_worker.machine import Position
from agentflow_worker.tasks import reports
from agentflow_worker.tasks.kept_reports import Written

Change = tuple[Any, Any, Any]


def chain_without_fence() -> list[Change]:
    """The report that begins the next step is written whatever the scheduler has decided."""
    real = reports.Reporter.send

    async def send(self: Any, chain: Any, event: Any, what: str, fence: Any = None) -> Ack:
        return await real(self, chain, event, what)

    return [(reports.Reporter, "send", send)]


def chain_over_when_reported() -> list[Change]:
    """A task whose own step was reported counts as over, whatever follows in it."""
    real = machine.position

    def position(task: Any, later: Any) -> Position | None:
        found = real(task, later)
        return found if found is not None and found.step == task.step else None

    return [(machine, "position", position)]


def chain_from_its_head() -> list[Change]:
    """Whoever gets a task again begins it with its first step."""
    real = machine.position

    def position(task: Any, later: Any) -> Position | None:
        found = real(task, later)
        return found and Position(task.step, {}, found.by)

    return [(machine, "position", position)]


def chain_duplicate_believed() -> list[Change]:
    """A report that another had written counts as this worker's own."""
    real = reports.Reporter.write

    async def write(self: Any, *args: Any) -> Written:
        written = await real(self, *args)
        return Written(Ack(written.ack.stream, written.ack.seq), written.whole) if written.whole else written

    return [(reports.Reporter, "write", write)]


def chain_of_anything() -> list[Change]:
    """A chain takes in what the scheduler has to decide: conditions, timeouts."""

    def follows(_head: Any, _node: Any, following: Any) -> bool:
        return following.kind in chain.KINDS and following.work is not None and not following.parallel

    return [(chain, "_follows", follows)]


def begun_unheeded() -> list[Change]:
    """The fold doesn't see what a worker goes on with."""
    return [(fold_facts, "_begun", lambda *_: None)]


def shared_between_steps() -> list[Change]:
    """What a step changes in its inputs is changed for the next one."""
    return [(machine, "plain", lambda value: value)]


def slot_kept_for_the_chain() -> list[Change]:
    """The slot of a keyed lane is held until the chain that began in it has ended."""
    real = chain.extend

    def extend(its_run: Any, out: Any) -> None:
        node = its_run.plan.nodes.get(getattr(out.decisions[-1], "step", "")) if out.decisions else None
        if node is not None:
            kept, node.lane_key = node.lane_key, None
        real(its_run, out)
        if node is not None:
            node.lane_key = kept

    return [(chain, "extend", extend)]


def window_loses_the_chain() -> list[Change]:
    """The pool's window forgets who goes on."""
    return [(pools.Pools, "_begun", lambda *_: None)]


ALL: tuple[Callable[[], list[Change]], ...] = (
    chain_without_fence, chain_over_when_reported, chain_from_its_head, chain_duplicate_believed,
    chain_of_anything, begun_unheeded, shared_between_steps,
    slot_kept_for_the_chain, window_loses_the_chain,
)  # fmt: skip
