"""Errors of the services as the command line says them: with its own options in the place of the API's fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from agentctl import failures
from agentctl.main import app
from agentflow_common import ids
from agentflow_common.errors import AgentFlowError, InvalidError, Problem
from agentflow_gateway import auth_rules, limits
from agentflow_gateway.operations import dead_letters, lanes
from agentflow_gateway.operations.controls_bucket import LaneSetting
from agentflow_prompt import machine as prompts


def options(words: str) -> frozenset[str]:
    command: Any = typer.main.get_command(app)
    for word in words.split():
        command = command.commands[word]
    return failures.options_of(command)


def refused(call: Callable[[], Any]) -> AgentFlowError:
    with pytest.raises(AgentFlowError) as caught:
        call()
    return caught.value


def at(place: str) -> Callable[[], Any]:
    def call() -> None:
        raise InvalidError.at(place, "wrong", "mend it")

    return call


@pytest.mark.parametrize(
    ("words", "place", "shown"),
    [
        ("retention set", "keep_ms", "keep"),
        ("budget create", "limit_nano_usd", "--limit"),
        ("budget create", "name", "--name"),
        ("budget get", "id", "BUDGET"),
        ("lane set", "rate_per_s", "--rate"),
        ("lane set", "name", "NAME"),
        ("prompt create", "inputs_schema.properties.x", "--schema properties.x"),
        ("prompt create", "labels", "--label"),
        ("prompt get", "prompt_ref", "name"),
        ("workflow submit", "idempotency_key", "--idempotency-key"),
        ("workflow submit", "budget_cents", "--budget-cents"),
        ("workflow submit", "deadline_ms", "--deadline"),
        ("workflow submit", "inputs.document_key", "--input document_key"),
        ("workflow submit", "tags['A B']", "--tag 'A B'"),
        ("workflow submit", "break_at[1]", "--break-at"),
        ("workflow continue", "values['judge']", "--set 'judge'"),
        ("workflow pause", "until", "--until"),
        ("workflow batch", "until", "--pause-until"),
        ("schedule create", "time_zone", "--tz"),
        ("trace query", "end_ms", "--end"),
        ("audit list", "before_ms", "--until"),
        ("dead list", "filter.before_ms", "--until"),
        ("dead list", "filter.run_id", "--run"),
        ("dead replay", "repaired_body", "--body"),
        ("keys create", "permissions", "--permissions"),
        ("workflow list", "page_token", "--page-token"),
        # no option of the command: the place stays
        ("workflow list", "keep_ms", "keep_ms"),
        ("workflow submit", "line 3, inputs.a.type", "f.yaml:3: inputs.a.type"),
        ("workflow submit", "dag.nodes[0].type", "dag.nodes[0].type"),
    ],
)
def test_the_place_of_a_problem_is_the_option_that_the_command_has(words: str, place: str, shown: str) -> None:
    assert failures.lines_of(refused(at(place)), "f.yaml", options(words)) == [f"{shown}: wrong (mend it)"]


def test_without_a_command_the_place_is_the_field() -> None:
    assert failures.lines_of(refused(at("keep_ms"))) == ["keep_ms: wrong (mend it)"]


NAME_FIX = "use 1 to 64 letters, digits, '_' or '-'"


@pytest.mark.parametrize(
    ("words", "call", "lines"),
    [
        (
            "dead list",
            lambda: dead_letters.check_filter(dead_letters.Filter(after_ms=2, before_ms=1)),
            ["--until: the end of the range is before its start (swap the two times, or leave one out)"],
        ),
        (
            "dead list",
            lambda: dead_letters.check_filter(dead_letters.Filter(origin="x" * 101)),
            ["--origin: 101 characters are too many (use at most 100)"],
        ),
        (
            "dead list",
            lambda: dead_letters.check_filter(dead_letters.Filter(run="a b")),
            [f"--run: 'a b' is not a valid name ({NAME_FIX})"],
        ),
        (
            "lane set",
            lambda: lanes.changed(LaneSetting(), lanes.LaneChange(limit=10_001, rate_per_s=1e7), "x", 1),
            [
                "the lane can't be set",
                "  --limit: 10,001 is out of range (use 1 to 10,000, or 0 for none)",
                "  --rate: 10,000,000 a second is out of range (use up to 100,000 a second, or 0 for no rate)",
            ],
        ),
        (
            "prompt get",
            lambda: raised(prompts.not_found(prompts.Ref("nope"))),
            ["name: prompt 'nope' does not exist (correct the name, or create it: agentctl prompt create)"],
        ),
        (
            "prompt get",
            lambda: raised(prompts.not_found(prompts.Ref("p", version=9), 2)),
            ["prompt 'p@9' does not exist", "  name: 'p' has versions 1 to 2 (use p@2, or a label that exists)"],
        ),
        ("prompt get", lambda: ids.check_token("a b", "name"), [f"name: 'a b' is not a valid name ({NAME_FIX})"]),
        (
            "lane pause",
            lambda: limits.check_text("\0", "reason", 500),
            ["--reason: the text contains a NUL character (remove it)"],
        ),
        (
            "workflow list",
            lambda: auth_rules.authorise(auth_rules.Identity("a", "k", ()), "ListRuns", "b"),
            ["unknown org or not yours: 'b'; leave the org out, the API key determines it"],
        ),
    ],
)
def test_a_message_has_no_word_of_the_api_and_says_a_thing_once(
    words: str, call: Callable[[], Any], lines: list[str]
) -> None:
    assert failures.lines_of(refused(call), options=options(words)) == lines


def raised(error: AgentFlowError) -> None:
    raise error


def test_a_place_that_is_the_request_as_a_whole_is_not_shown() -> None:
    problem = Problem("filter", "say which dead letters to purge", "or choose all")
    error = InvalidError.of([problem])
    assert failures.lines_of(error, options=options("dead purge")) == [
        "say which dead letters to purge (or choose all)"
    ]


TIMES = {"--since", "--until", "--start", "--end", "--older-than", "--pause-until", "--after", "--grace"}


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, (*path, name))
    if path and not hasattr(command, "commands"):
        yield path, command


OF_TIMES = [
    (" ".join(path), name)
    for path, command in _commands(typer.main.get_command(app))
    for option in command.params
    for name in option.opts
    if name in TIMES
]


@pytest.mark.parametrize(("words", "name"), OF_TIMES)
@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_time_is_refused(words: str, name: str, text: str) -> None:
    """A script whose variable is not set would pause without an end, or cancel runs of every age."""
    found = CliRunner().invoke(app, [*words.split(), name, text])
    assert (found.exit_code, "is empty" in found.output) == (failures.BAD_INPUT, True), found.output
    assert {("workflow pause", "--until"), ("lane pause", "--until"), ("dead purge", "--since")} <= set(OF_TIMES)
