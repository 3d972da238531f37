"""What people write after agentctl's options: amounts, numbers, files and names, against a real gRPC server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from agentctl.main import app
from agentflow_sdk.testing import FakeAgentFlow
from tests.support.agentctl import AgentCtl, configure


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentCtl]:
    monkeypatch.chdir(tmp_path)
    with FakeAgentFlow() as server:
        configure(monkeypatch, tmp_path, server.endpoint, server.token)
        yield AgentCtl()


def test_llm_11_a_comma_in_a_limit_is_refused_and_nothing_is_created(cli: AgentCtl) -> None:
    said = cli("budget", "create", "--limit", "12,50", code=2).stderr
    wrong = "'12,50' has a comma, which can mean decimals or thousands"
    assert said == f"error: --limit: {wrong} (write 12.50 or 1250)\n"
    told = cli("budget", "create", "--limit", "99999999999", code=2).stderr
    assert "at most 9,000,000,000 US dollars" in told and "Value out of range" not in told, told
    assert cli.json("budget", "list") == []
    assert cli.json("budget", "create", "--limit", "$12.50")["limit_nano_usd"] == 12_500_000_000


def test_usage_09_a_budget_is_changed_and_deleted_from_the_command_line(cli: AgentCtl) -> None:
    cli("budget", "create", "--limit", "0.01", "--period", "total", "--name", "team")
    assert "12.50 or 1250" in cli("budget", "set", "team", "--limit", "12,50", code=2).stderr
    assert cli.json("budget", "set", "team", "--limit", "12.50")["limit_nano_usd"] == 12_500_000_000
    assert "deleted" in cli("budget", "delete", "team").stderr
    assert "team" in cli("budget", "get", "team", code=2).stderr
    assert cli.json("budget", "list") == []


def test_usage_08_a_template_that_names_no_file_is_refused(cli: AgentCtl, tmp_path: Path) -> None:
    for word in ("no-such-file.txt", "./prompts/a b.md", "digest", "missing.j2"):
        told = cli("prompt", "create", "p", "--template", word, code=2).stderr
        assert "there is no such file" in told and "--text" in told, told
    assert "no such file" in cli("prompt", "create", "p", "--template", "@none", code=2).stderr.lower()
    told = cli("prompt", "create", "p", "--text", "Say {{x}}", "--system", "rules.txt", code=2).stderr
    assert "--system rules.txt" in told and "--system-text" in told, told
    assert "either" in cli("prompt", "create", "p", code=2).stderr
    assert "either" in cli("prompt", "create", "p", "--text", "a", "--template", "b", code=2).stderr
    assert cli.json("prompt", "list") == []

    (tmp_path / "t.txt").write_text("From a file: {{x}}")
    (tmp_path / "s.txt").write_text("Be brief.")
    cli("prompt", "create", "p", "--template", "t.txt", "--system", "@s.txt")
    made = cli.json("prompt", "get", "p")
    assert (made["template"], made["system"]) == ("From a file: {{x}}", "Be brief.")
    cli("prompt", "create", "q", "--text", "digest", "--system-text", "rules.txt")
    made = cli.json("prompt", "get", "q")
    assert (made["template"], made["system"]) == ("digest", "rules.txt")
    cli("prompt", "create", "r", "--template", "Say {{x}}", "--system", "Be brief.")  # what is plainly a text still is
    assert cli.json("prompt", "get", "r")["template"] == "Say {{x}}"


def test_usage_10_completed_asks_for_the_result(cli: AgentCtl) -> None:
    told = cli("workflow", "resolve", "run_1", "pay", "--completed", code=2).stderr
    assert "--result JSON" in told and "--result null" in told, told
    told = cli("workflow", "resolve", "run_1", "pay", "--completed", "--result", "paid", code=2).stderr
    assert "--result: not JSON" in told, told
    for result in ("null", '{"paid": 7}'):  # both are sent: there is no such run
        assert "run_1" in cli("workflow", "resolve", "run_1", "pay", "--completed", "--result", result, code=2).stderr


def _numeric_options() -> list[tuple[tuple[str, ...], str]]:
    """Every command with each of its options that takes a number."""
    found: list[tuple[tuple[str, ...], str]] = []

    def walk(command: Any, words: tuple[str, ...]) -> None:
        for name, sub in getattr(command, "commands", {}).items():
            walk(sub, (*words, name))
        options = (p for p in command.params if p.param_type_name == "option" and p.bare_type() in {"int", "float"})
        found.extend((words, option.opts[0]) for option in options)

    walk(typer.main.get_command(app), ())
    return found


def _required(words: tuple[str, ...], skip: str) -> list[str]:
    """Something for each argument and option that the command needs."""
    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    out: list[str] = []
    for parameter in command.params:
        if not parameter.required or skip in parameter.opts:
            continue
        value = "1" if parameter.bare_type() in {"int", "float"} else "x"
        out += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
    return out


NUMERIC = _numeric_options()


@pytest.mark.parametrize(("words", "option"), NUMERIC, ids=[" ".join((*words, o)) for words, o in NUMERIC])
@pytest.mark.parametrize("number", ["9" * 30, "-" + "9" * 30])
def test_llm_11_every_option_that_takes_a_number_has_a_bound(
    cli: AgentCtl, tmp_path: Path, words: tuple[str, ...], option: str, number: str
) -> None:
    (tmp_path / "x").write_text("name: x\nversion: 1\n")
    extra = {"schedule": ["--file", "x"]}.get(words[0], []) if words[-1] == "next" else []
    result = CliRunner().invoke(app, [*words, *_required(words, option), *extra, option, number])
    told = result.stderr
    assert result.exit_code == 2, (result.exit_code, result.stdout, told, result.exception)
    for raw in ("Value out of range", "Traceback", "unexpected", "cannot convert"):
        assert raw not in told, told
    assert any(word in told for word in ("range", "at least", "at most")), told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("lane set calls --limit -1", "Invalid value for '--limit': must be at least 0"),
        ("lane set calls --limit 20000", "Invalid value for '--limit': must be at most 10,000"),
        ("dead get x", "Invalid value for 'sequence': write an integer"),
        ("workflow submit w --deadline soon", "Invalid value for '--deadline': write a number"),
        ("workflow list -o xml", "Invalid value for '--output' / '-o': 'xml' is not one of 'table', 'json', 'yaml'."),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_in_the_words_of_this_house(
    cli: AgentCtl, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    monkeypatch.setenv("COLUMNS", "200")
    assert message in cli(*words.split(), code=2).stderr


THE_FILTERS = "(give a status, a workflow, a tag, an error type or a time)"


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            "budget create --limit 5 --period yearly",
            ["error: --period: unknown budget period 'yearly' (use daily, weekly, monthly, total)"],
        ),
        (
            "workflow batch cancel",
            ["error: the filter is empty and matches every run " + THE_FILTERS],
        ),
        ("schedule create nightly --cron @daily", ["error: which workflow?", "  give --workflow NAME, or --file"]),
    ],
)
def test_an_error_says_a_thing_once_and_names_the_option(cli: AgentCtl, words: str, lines: list[str]) -> None:
    assert cli(*words.split(), code=2).stderr.splitlines() == lines
