"""Tests that talk to servers give their calls an end, so that a lost answer fails a test and does not hang it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
TALKING = ("integration", "e2e", "fault", "replay", "support")
FOLLOWING = {"wait", "watch", "run"}  # calls of the SDK that last as long as the run, unless a time limit is given
CHANNELS = {"insecure_channel", "secure_channel"}


def endless(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields (line, call) of each call that may last forever."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        name, owner = call.func.attr, call.func.value
        given = {keyword.arg for keyword in call.keywords}
        of_sdk = isinstance(owner, ast.Attribute) and owner.attr in {"workflows", "flows"}
        if name in CHANNELS or (name in FOLLOWING and of_sdk and not given & {"timeout", None}):
            yield call.lineno, ast.unparse(call.func)


def test_calls_that_wait_for_a_run_have_a_time_limit_and_channels_a_deadline() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{line}: {call}"
        for folder in TALKING
        for path in sorted((TESTS / folder).rglob("*.py"))
        if path.name != "deadlines.py"
        for line, call in endless(ast.parse(path.read_text()))
    ]
    assert not found, "give it a `timeout`, or make the channel with tests/support/deadlines.py:\n" + "\n".join(found)


def test_the_check_finds_them() -> None:
    text = "client.workflows.wait(r)\nhere.flows.watch(r, timeout=1)\ngrpc.aio.insecure_channel(x)\ngate.wait()\n"
    assert [line for line, _ in endless(ast.parse(text))] == [1, 3]
