"""What somebody meets who is new: the data folder of make, tables in 80 columns, hints that lead to the right place."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from agentctl import demo, failures, runs
from agentctl.commands import audit
from agentctl.display import output
from agentctl.failures import CliError
from agentctl.main import app
from agentflow_common.definition.parse import parse_text
from agentflow_common.errors import InvalidError
from agentflow_common.schedules import spec as schedule_spec
from agentflow_sdk import AuditEntry, InvalidArgumentError, Problem
from agentflow_sdk.calls import budgets
from agentflow_worker.registry import built_in_registry
from tests.support.paths import ROOT

RUN = "run_k127r2gp60w1jfmyzsby3d6mkd"


def recipe(target: str, *given: str, **environment: str) -> str:
    """The commands that a target of the Makefile would run."""
    clean = {key: value for key, value in os.environ.items() if key not in {"AGENTFLOW_DATA_DIR", "DATA", "MAKEFLAGS"}}
    command = ["make", "-n", "-o", "setup", f"PYTHON={sys.executable}", target, *given]
    return subprocess.run(command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", ["run", "up", "status", "down", "backup", "logs"])
def test_every_target_of_make_means_the_same_data_folder(target: str) -> None:
    assert ".agentflow" in recipe(target)
    assert "/srv/given" in recipe(target, "DATA=/srv/given")
    assert "/srv/set" in recipe(target, AGENTFLOW_DATA_DIR="/srv/set")
    assert "/srv/given" in recipe(target, "DATA=/srv/given", AGENTFLOW_DATA_DIR="/srv/set")


def narrow(monkeypatch: pytest.MonkeyPatch, width: int = 80) -> Console:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    monkeypatch.setattr(output, "stdout", lambda: console)
    return console


def test_the_audit_list_can_be_read_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    console = narrow(monkeypatch)
    entries = [
        AuditEntry(
            sequence=55, at=1796035247000, action="budget.created", actor="dev:key_a286e5777e02", run_id=RUN, step="",
            reason="monthly budget x (bud_71a1e0370052ce22) of workflow:gruss: limit $3.00",
            counts={"PHONE_NUMBER": 12},
        )
    ]  # fmt: skip
    console.print(audit._table(entries))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert len(text.splitlines()) == 2, "a heading and a line"
    assert "budget.created" in text
    assert "dev:key_a286e5777e02" in text
    assert "2026-11-30 " in text


@pytest.mark.parametrize(
    ("action", "fix"),
    [("reveal", f"use {', '.join(audit.ACTIONS)}"), ("restor", "did you mean 'restore'?")],
)
def test_an_unknown_action_of_the_audit_log_is_refused(action: str, fix: str) -> None:
    done = CliRunner(env={"AGENTFLOW_ENDPOINT": "127.0.0.1:1"}).invoke(app, ["audit", "list", "--action", action])
    assert done.exit_code == failures.BAD_INPUT
    assert done.stderr.splitlines() == [f"error: --action: unknown action {action!r}", f"  {fix}"]


@pytest.mark.parametrize("words", [("config", "set", "endpont", "x"), ("completion", "show", "tcl")])
def test_a_wrong_choice_is_told_without_a_label(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == failures.BAD_INPUT
    assert "is not one of" in done.stderr
    assert "Value error" not in done.stderr


def test_the_actions_that_can_be_asked_for_are_those_of_the_page() -> None:
    table = re.findall(r"^\| (`[a-z_.`, ]+`) \|", (ROOT / "docs/privacy.md").read_text().split("| Action |")[1], re.M)
    assert sorted(re.findall(r"`([a-z_.]+)`", " ".join(table))) == sorted(audit.ACTIONS)


def test_what_to_try_next_is_not_torn_apart_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    console = narrow(monkeypatch)
    demo._next(console, RUN, True, Path(".agentflow").absolute())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    for why in ("what happened, step by step", "the originals behind the tokens (audited)"):
        line = next(line for line in lines if why in line)
        assert line.startswith("  "), "an explanation is not a command of its own"
    assert any(f"agentctl workflow get {RUN} --reveal --reason demo" in line for line in lines)


def test_a_misspelt_field_of_a_step_is_not_put_behind_its_output() -> None:
    text = """
name: x
inputs: {d: {type: string}}
dag:
  nodes:
    - {id: read, type: tool, config: {tool_name: file.read, tool_args: {path: "{{d}}"}}}
    - {id: stats, type: function, config: {function_name: text_stats, inputs: {text: "{{read.ouput.text}}"}}}
"""
    with pytest.raises(InvalidError) as caught:
        parse_text(text)
    assert "read.output" in caught.value.problems[0].fix
    assert "read.output.ouput" not in caught.value.problems[0].fix


def test_a_name_that_is_not_built_in_is_told_where_no_server_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(
        "name: x\ndag:\n  nodes:\n"
        "    - {id: read, type: tool, config: {tool_name: file.raed, tool_args: {path: a.md}}}\n"
        "    - {id: own, type: function, config: {function_name: orders.price}}\n"
    )
    done = CliRunner().invoke(app, ["workflow", "validate", str(file)])
    assert done.exit_code == 0, "tools of one's own are not known here"
    assert "valid: x@1" in done.stdout
    assert "file.raed" in done.stderr
    assert "did you mean 'file.read'?" in done.stderr
    assert "orders.price" in done.stderr
    assert "--server" in done.stderr


def test_an_error_of_the_sdk_says_each_problem_once() -> None:
    problem = Problem("inputs.day", "missing", "give a value of type string")
    error = InvalidArgumentError(f"the inputs don't fit the workflow: {problem}", problems=(problem,))
    assert str(error).count("inputs.day") == 1
    assert str(error).startswith("the inputs don't fit the workflow")
    assert "the inputs don't fit" in str(InvalidArgumentError("the inputs don't fit", problems=(problem,)))


def test_every_built_in_tool_begins_with_what_it_does() -> None:
    for offer in built_in_registry().describe():
        assert offer["doc"][:1].isalpha(), offer["name"]


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        (
            "name: x\ninputs: {n: {type: float}}\ndag: {nodes: [{id: a, type: wait, config: {duration: 1s}}]}",
            "'number'",
        ),
        ("name: x\ninputs: {n: {type: str}}\ndag: {nodes: [{id: a, type: wait, config: {duration: 1s}}]}", "'string'"),
        (
            "name: x\ndag: {nodes: [{id: a, type: llm, config: {prompt_ref: p}, policy: {quality: gold}}]}",
            "'Gold'",
        ),
    ],
)
def test_a_word_that_other_systems_use_is_led_to_ours(text: str, fix: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_text(text)
    assert caught.value.problems[0].fix == f"did you mean {fix}?"


@pytest.mark.parametrize("read", [parse_text, schedule_spec.parse_text])
@pytest.mark.parametrize(("text", "kind"), [("hello", "a text"), ("[a]", "a list"), ("3", "a number")])
def test_what_is_no_mapping_is_named_in_words(read: Callable[[str], object], text: str, kind: str) -> None:
    with pytest.raises(InvalidError) as caught:
        read(text)
    assert caught.value.problems[0].message.endswith(f" must be a mapping, got {kind}")


def test_a_node_that_says_twice_what_it_does_is_not_asked_for_more() -> None:
    text = "name: x\nentry_point: a\nnodes:\n  - {name: a, type: tool, tool: file.read, args: {path: a.md}}\n"
    with pytest.raises(InvalidError) as caught:
        parse_text(text)
    assert [problem.fix for problem in caught.value.problems] == ["remove `type`"]


def test_a_choice_of_a_schedule_says_what_was_given() -> None:
    with pytest.raises(InvalidError) as caught:
        schedule_spec.parse_text("name: x\nworkflow: w\ncron: '@daily'\noverlap: wait\n")
    message = "use 'skip', 'buffer_one', 'buffer_all', 'cancel' or 'allow', got 'wait'"
    assert [problem.message for problem in caught.value.problems] == [message]


def test_an_amount_that_is_none_has_one_fix() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        budgets.create_budget("abc")
    assert str(caught.value).count("write") == 1


@pytest.mark.parametrize("text", ["run_", "run_k35"])
def test_a_beginning_of_an_id_that_is_too_short_is_told(text: str) -> None:
    client: Any = None  # no server is asked
    with pytest.raises(CliError) as caught:
        runs.find(client, text)
    assert "at least 4 characters" in str(caught.value.fix)
