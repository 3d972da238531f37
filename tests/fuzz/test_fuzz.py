"""Odd workflows end as they should, and the fuzzer finds what is planted (README.md)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from affuzz.world import play  # noqa: E402

from agentflow_common import json_values  # noqa: E402
from agentflow_common.expressions import language as expressions  # noqa: E402
from agentflow_common.expressions import sandbox as templates  # noqa: E402
from agentflow_gateway.api import convert  # noqa: E402
from agentflow_scheduler.runs.graphs import routes  # noqa: E402

FAST_CASES = 600
REGRESSIONS = [
    int(line.split()[0]) for line in (HERE / "regressions.txt").read_text().splitlines() if line[:1].isdigit()
]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_odd_workflows_end_completed_or_failed_with_the_step_named(loop: asyncio.AbstractEventLoop) -> None:
    ends = Counter(play(case, loop) for case in range(FAST_CASES))
    assert min(ends["completed"], ends["failed"]) > FAST_CASES // 5, ends
    assert FAST_CASES // 20 < ends["refused"] < FAST_CASES // 2, ends


def test_cases_that_once_showed_a_fault(loop: asyncio.AbstractEventLoop) -> None:
    for case in REGRESSIONS:
        play(case, loop)


@pytest.mark.slow
def test_many_odd_workflows(loop: asyncio.AbstractEventLoop) -> None:
    for case in range(FAST_CASES, 20_000):
        play(case, loop)


def test_a_failing_case_is_a_line_that_plays_it_again() -> None:
    command = [sys.executable, str(HERE / "run.py"), "--case", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("1 cases, 0 failed")


def unchanged(value: Any, *_more: Any) -> Any:
    return value


RENDER = expressions.Template.render


def raising(self: expressions.Template, variables: Any) -> Any:
    value = RENDER(self, variables)
    if isinstance(value, list) and len(value) > 1:
        raise TypeError("planted")
    return value


class Nameless(routes.EdgeError):
    def __init__(self, message: str, _step: str) -> None:
        super().__init__(message, "")


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "results_are_not_made_plain": lambda patch: patch.setattr(json_values, "plain", unchanged),
    "methods_show": lambda patch: patch.setattr(templates.Sandbox, "getattr", lambda _, obj, name: getattr(obj, name)),
    "an_edge_without_a_step": lambda patch: patch.setattr(routes, "EdgeError", Nameless),
    "a_filter_raises_in_the_machine": lambda patch: patch.setattr(expressions.Template, "render", raising),
    "large_numbers_overflow": lambda patch: patch.setattr(convert, "NUMBER_EXACT_MAX", float("inf")),
}


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_planted_bug_is_found(name: str, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    expressions.template.cache_clear()
    PLANTED[name](monkeypatch)
    try:
        for case in range(1_500):
            try:
                play(case, loop)
            except Exception:
                return
        pytest.fail(f"{name} is not found")
    finally:
        expressions.template.cache_clear()
