"""Causes of planted faults: the first cause that an explanation names is the fault, in at least 95 of 100 runs."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common.rpc.traces.explain import ExplainReply
from agentflow_common.runs.state import node_of
from agentflow_trace.explain.explain import answer
from agentflow_trace.explain.kinds import KINDS, LINKS
from agentflow_trace.explain.measures import costs, slow
from agentflow_trace.explain.measures.history import History
from agentflow_trace.explain.open_runs import Around
from agentflow_trace.explain.run_log import Logs, RunLog
from tests.support.trace_rows import rows_of

from .entities_workflows import workflows
from .entities_world import World
from .explain_faults import FAULTS, Planted, plant

PLANTED = 220  # of more than 40 kinds of faults, five or more of each
RIGHT_MIN = 0.95


def is_right(planted: Planted, reply: ExplainReply) -> bool:
    first = reply.causes[0] if reply.causes else None
    return first is not None and (first.kind, node_of(first.step)) == (planted.kind, planted.node)


def check(reply: ExplainReply, rows: dict[str, dict[tuple[str, int], str]]) -> None:
    """Raises AssertionError unless every link is known, and every piece of evidence is a row of that type."""
    for cause in reply.causes:
        assert cause.kind in KINDS
        assert cause.fix
        assert cause.text
        assert 0 < cause.confidence <= 1
        assert cause.chain[-1].kind == cause.kind
        for link in cause.chain:
            assert link.kind in KINDS or link.kind in LINKS
            for item in link.evidence:
                assert rows[item.run][item.stream, item.seq] == item.type
    scores = [cause.confidence for cause in reply.causes]
    assert scores == sorted(scores, reverse=True)


def test_the_first_cause_is_the_planted_fault() -> None:
    wrong: list[str] = []
    kinds: Counter[str] = Counter()
    for number in range(PLANTED):
        planted = plant(number)
        reply = planted.world.explain(planted.run)
        runs = [key.name for key in planted.world.logs]
        check(reply, {r: {(row.stream, row.stream_seq): row.type for row in planted.world.rows(r)} for r in runs})
        kinds[planted.kind] += 1
        if not is_right(planted, reply):
            found = [(cause.kind, cause.step) for cause in reply.causes[:2]]
            wrong.append(f"{number} {FAULTS[number % len(FAULTS)].__name__}: {found}")
    assert len(kinds) >= 20, kinds
    assert len(wrong) <= PLANTED * (1 - RIGHT_MIN), wrong


def test_the_log_does_not_name_the_fault() -> None:
    """Only what the engine and the platform themselves write can have the name of a kind, as the type of an error."""
    for number in range(len(FAULTS)):
        planted = plant(number)
        for key in planted.world.logs:
            for row in planted.world.rows(key.name):
                body = row.body.replace(row.type, "")
                if planted.kind not in {"outcome_unknown", "undecidable", "worker_lost"}:  # own types of the engine
                    assert f'"{planted.kind}"' not in body, (number, body)


def test_a_wrong_kind_would_be_noticed() -> None:
    planted = plant(0)
    assert is_right(planted, planted.world.explain())
    assert not is_right(planted._replace(kind="http_error"), planted.world.explain())
    assert not is_right(planted._replace(node="elsewhere"), planted.world.explain())


@pytest.mark.parametrize("crashes", [False, True], ids=["steady", "crashing"])
@given(workflows(), st.integers(0, 2**32), st.sampled_from([-1, -1, 2, 9]), st.sampled_from([-1, -1, 4]))
@settings(max_examples=40, deadline=None)
def test_every_run_can_be_explained_at_any_moment(
    crashes: bool, definition: dict[str, Any], seed: int, cancel_at: int, pause_at: int
) -> None:
    world = World(definition, seed, crashes)
    world.play(cancel_at, pause_at)
    rows = {key.name: rows_of(log) for key, log in world.logs.items() if key.kind == "run"}
    types = {run: {(row.stream, row.stream_seq): row.type for row in found} for run, found in rows.items()}
    for run, found in itertools.islice(rows.items(), 3):
        for cut in {len(found), *range(1, len(found), max(1, len(found) // 3))}:
            logs = Logs()
            logs.put(RunLog(run, found[:cut]))
            reply = answer(logs, run, Around(world.now))
            check(reply, types)
            ended = reply.status in {"failed", "cancelled"}
            assert not ended or reply.causes, "a run that ended badly has a cause"
            while logs.missing:
                for other in list(logs.missing):
                    logs.put(RunLog(other, rows.get(other, [])))
                reply = answer(logs, run, Around(world.now))
            check(reply, types)
            assert answer(logs, run, Around(world.now)) == reply
            check_sums(logs, run, world.now)


def check_sums(logs: Logs, run: str, now_ms: int) -> None:
    """Raises AssertionError unless the time and the money are the run's own, to the last part."""
    log = logs.get(run)
    assert log is not None
    assert log.state is not None
    timed, spent = slow.report(logs, log, History(), now_ms), costs.report(log, History())
    end = log.state.finished_at or now_ms
    assert sum(part.ms for part in timed.parts) == timed.duration_ms == max(0, end - log.state.submitted_at)
    assert sum(step.cost_nano for step in spent.steps) == spent.cost_nano == log.state.cost_nano
    assert sum(model.cost_nano for model in spent.models) == spent.cost_nano
