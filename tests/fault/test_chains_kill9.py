"""kill -9 and SIGSTOP of workers and schedulers while workers go on with chains of steps by themselves: every run ends,
no step is offered, begun or reported twice, and each was given what the log says of the one before it."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.log.event_log import EventLog
from agentflow_common.runs.state import RunStatus, StepStatus
from tests.support.attempts import begun_by

from .killing import Processes, Told, drive, submit

pytestmark = [pytest.mark.integration, pytest.mark.fault]

RUNS = 400
STEPS = 8
PAID = 4  # the step that must not happen twice
FAULTS = 12
NAMES = ("scheduler-1", "scheduler-2", "worker-1", "worker-2")
SEED = int(os.environ.get("FAULT_SEED", "20"))


@pytest.fixture
async def processes(tmp_path: Path, nats_url: str) -> AsyncIterator[Processes]:
    (tmp_path / "calls").touch()
    with Processes(
        tmp_path,
        NAMES,
        nats_url,
        CALLS_FILE=tmp_path / "calls",
        WORKER_LOAD=Path(__file__).with_name("chain_tools.py"),
        WORKER_CONCURRENCY=20,
        AGENTFLOW_ACK_WAIT_S=1,
        SCHEDULER_SNAPSHOT_EVERY=300,
    ) as started:
        yield started


def chain() -> dict[str, Any]:
    nodes = []
    for number in range(STEPS):
        args = {"given": f"s{number - 1}.output.number" if number else 0}
        node: dict[str, Any] = {
            "id": f"s{number}",
            "type": "tool",
            "config": {"tool_name": "chains.add", "inputs": args},
        }
        if number == PAID:
            node["config"]["tool_name"] = "chains.pay"
            node["policy"] = {"on_unknown": "retry", "retry": {"max_attempts": 20, "initial_ms": 10}}
        nodes.append(node)
    edges = [{"from": f"s{number}", "to": f"s{number + 1}"} for number in range(STEPS - 1)]
    return parse_dict({"name": "chain", "dag": {"nodes": nodes, "edges": edges}}).canonical()


async def test_chains_survive_kill_9_and_stops(processes: Processes, nats_url: str, tmp_path: Path) -> None:
    chance = random.Random(SEED)

    def strike() -> None:
        name = NAMES[chance.randrange(4)]
        if chance.random() < 0.5:
            processes.kill(name)
        else:
            processes.stop_for(name, chance.choice([0.3, 1.5, 3.0]))

    nc = await nats.connect(nats_url)
    log = EventLog(nc)
    await log.start()
    await processes.ready()
    definition = chain()
    runs = set(await asyncio.gather(*(submit(log, definition) for _ in range(RUNS))))
    await drive(log, processes, runs, RUNS * STEPS, [strike] * FAULTS)

    told = await Told.by(log)
    assert set(told.states) == runs
    in_chains = sum(len(begun_by(event)) for event in told.events if isinstance(event, ev.StepCompleted))
    assert in_chains > RUNS, "many steps were begun by the worker of the one before: fewer, the slower the machine is"

    lines = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    calls = {(run, step, int(given), int(number)) for run, step, _, given, number in lines}
    for run, state in told.states.items():
        assert state.status is RunStatus.COMPLETED, state.error
        number = 0
        for name in (f"s{number}" for number in range(STEPS)):
            step = state.steps[name]
            assert step.status is StepStatus.COMPLETED
            assert step.attempt == 1 or name == f"s{PAID}"
            assert step.output.value["given"] == number, f"{run}: {name} was given another value than the log holds"
            number = step.output.value["number"]
            assert (run, name, step.output.value["given"], number) in calls
    paid = Counter((run, attempt) for run, step, attempt, _, _ in lines if step == f"s{PAID}")
    assert max(paid.values()) == 1, "in an attempt it happens once"
    repeated = len(lines) - len(told.reports)
    assert repeated <= FAULTS * 20 * 2, "only what was in hand of a process that was lost runs again"
    await nc.close()
