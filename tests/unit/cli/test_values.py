"""What people write on the command line, and what a watcher sees of a run."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from agentctl import demo, failures, session, values
from agentctl.commands import retention
from agentctl.commands.local.config import mask
from agentctl.display.output import clean, duration, report
from agentctl.display.progress import RunView, line
from agentctl.failures import CliError
from agentctl.main import app
from agentflow_common import errors
from agentflow_sdk import InvalidArgumentError, Problem, RunEvent, RunStatus, Token


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-2.5e3", -2500.0), ("true", True), ("null", None), ('"3"', "3"), ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}), ("007", "007"), ("1.2.3", "1.2.3"), ("True", "True"), ("[draft] x", "[draft] x"),
        ("{{name}}", "{{name}}"), ("", ""), (" two words ", " two words "), ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_inputs_are_json_where_they_look_like_it(text: str, value: object) -> None:
    assert values.parse_inputs([f"k={text}"]) == {"k": value}


@pytest.mark.parametrize(
    ("text", "told"), [("9" * 5_000, "more than 4,300 digits"), ("[" * 100_000 + "]" * 100_000, "nested too deeply")]
)
def test_engine_08_json_that_python_can_t_read_is_refused_with_what_to_do(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    readers = [
        lambda: values.parse_inputs([], f'{{"k": {text}}}'), lambda: values.parse_inputs([f"k=@{file}"]),
        lambda: values.json_value(text, "--payload"),
    ]  # fmt: skip
    if text.startswith("9"):  # what looks like a list, and can't be read as one, is a text
        readers.append(lambda: values.parse_inputs([f"k={text}"]))
    for read in readers:
        with pytest.raises(CliError, match=told):
            read()


@pytest.mark.parametrize(
    ("text", "rate"), [("5", 5.0), ("5/s", 5.0), ("300/m", 5.0), (" 0.5 / S ", 0.5), ("36/h", 0.01), ("0", 0.0)]
)
def test_a_rate(text: str, rate: float) -> None:
    assert values.per_second(text, "--rate") == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "fast", "-5/s", "5/d", "5/", "/s", "5/s/s", "1e3", "nan"])
def test_what_is_no_rate_is_refused_with_a_fix(text: str) -> None:
    with pytest.raises(CliError, match="not a rate") as caught:
        values.per_second(text, "--rate")
    assert "--rate 5/s" in caught.value.fix


def test_a_retention_is_not_negative() -> None:
    assert (retention.keep_ms("90m"), retention.keep_ms("2w"), retention.keep_ms("forever")) == (
        5_400_000, 14 * 86_400_000, 0,
    )  # fmt: skip
    for words in (["-5d"], ["--", "-5d"]):
        told = CliRunner().invoke(app, ["retention", "set", *words])
        assert (told.exit_code, "'-5d' is negative" in told.stderr) == (failures.BAD_INPUT, True), told.stderr
    for text in ("0d", "5", "5y", "soon"):
        with pytest.raises(CliError, match="not a retention"):
            retention.keep_ms(text)


def test_inputs_from_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("42\n")
    (tmp_path / "b.json").write_text('{"x": [1]}')
    (tmp_path / "c.bin").write_bytes(b"\xff\xfe\x00")
    got = values.parse_inputs([f"t=@{tmp_path}/a.txt", f"j=@{tmp_path}/b.json", "at=@@me"], '{"t": 0, "n": 1}')
    assert got == {"t": "42\n", "n": 1, "j": {"x": [1]}, "at": "@me"}
    for bad in (f"t=@{tmp_path}/c.bin", "novalue", "=x", f"t=@{tmp_path}"):
        with pytest.raises(CliError):
            values.parse_inputs([bad])
    with pytest.raises(CliError, match="not an object"):
        values.parse_inputs([], "[1]")


def test_inputs_declared_as_strings_stay_text() -> None:
    flow = "name: f\ninputs:\n  zip: {type: string}\n  n: {type: integer}\n  any: {}\n"
    strings = values.text_inputs(flow)
    assert strings == {"zip"}
    pairs = ["zip=42", "n=42", "any=true"]
    assert values.parse_inputs(pairs, "", strings) == {"zip": "42", "n": 42, "any": True}
    assert values.parse_inputs(['zip="42"', "n=1"], "", strings) == {"zip": "42", "n": 1}
    for odd in ("", "- a", "inputs: 3", "inputs: {a: 3}", "a: [", "x" * 10):
        assert not values.text_inputs(odd)


def test_a_document_of_blanks_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text(" \n\t\n")
    with pytest.raises(CliError, match="blanks"):
        demo.check_document(tmp_path / "blank.txt")


def test_times() -> None:
    now = 1_700_000_000_000
    assert values.parse_time("now", now) == now
    assert values.parse_time("1h", now) == now - 3_600_000
    assert values.parse_time("1.5m ago", now) == now - 90_000
    assert values.parse_time("2023-11-14T22:13:20Z") == now
    assert values.parse_time("1700000000000") == now
    with pytest.raises(CliError, match="not a time"):
        values.parse_time("yesterday-ish")


@pytest.mark.parametrize(
    "text", ["9" * 30, "99999999999d", "9999-12-31T23:59:59-12:00", "1900-01-01", "253402300800000"]
)
def test_a_time_that_no_calendar_has_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="is out of range" if "T" not in text else "is not a time|is out of range"):
        values.parse_end(text, "--until")
    assert values.parse_time("99999999999d") == 0, "all that there is"


@pytest.mark.parametrize("text", ["\u00b2" * 13, "9" * 400 + "d"])
def test_what_only_looks_like_a_number_is_no_time(text: str) -> None:
    with pytest.raises(CliError, match="is not a time"):
        values.parse_time(text)


def test_a_time_that_the_clocks_skip_is_after_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert values.parse_time("2027-03-28T02:30") == values.parse_time("2027-03-28T03:30+02:00")
        assert values.parse_time("2026-10-25T02:30") == values.parse_time("2026-10-25T02:30+02:00"), "the first time"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_error_names_file_and_line() -> None:
    problem = Problem("line 12, dag.nodes[0].type", "unknown node type 'x'", "use tool")
    error = InvalidArgumentError(f"the workflow definition is not valid: {problem}", problems=[problem])
    assert failures.lines_of(error, "flow.yaml") == [
        "the workflow definition is not valid",
        "  flow.yaml:12: dag.nodes[0].type: unknown node type 'x' (use tool)",
    ]
    assert failures.exit_code_of(error) == 2
    assert "--debug" in failures.lines_of(ValueError("odd"))[1]


ONE_PROBLEM = [
    (errors.InvalidError.at("times", "times 0 is out of range", "use 1"), ["times: times 0 is out of range (use 1)"]),
    (errors.NotFoundError.at("id", "no budget: x", "list them"), ["id: no budget: x (list them)"]),
    (errors.InvalidError.at("end", "the end is before the start"), ["end: the end is before the start"]),
    (
        errors.InvalidError.of([errors.Problem("line 3, dag", "is empty", "add a node")]),
        ["flow.yaml:3: dag: is empty (add a node)"],
    ),
    (InvalidArgumentError.at("run_id", "is empty", "pass one"), ["run_id: is empty (pass one)"]),
    (
        InvalidArgumentError.at("run_id", "is empty", "pass one", "no run id"),
        ["no run id", "  run_id: is empty (pass one)"],
    ),
]


@pytest.mark.parametrize(("error", "lines"), ONE_PROBLEM, ids=[str(error)[:12] for error, _ in ONE_PROBLEM])
def test_an_error_of_one_problem_says_it_once(
    error: Exception, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    report(error, "flow.yaml")
    assert capsys.readouterr().err == "error: " + "\n".join(lines) + "\n"
    if isinstance(error, InvalidArgumentError):
        assert str(error).splitlines() == lines


def test_an_error_of_several_problems_counts_none_of_them_twice(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [errors.Problem("line 3", "is empty", "add a node"), errors.Problem("name", "is missing")]
    listed = ["  flow.yaml:3: is empty (add a node)", "  name: is missing"]
    report(errors.InvalidError.of(problems, "the workflow is not valid"), "flow.yaml")
    assert capsys.readouterr().err.splitlines() == ["error: the workflow is not valid", *listed]
    report(errors.InvalidError.of(problems), "flow.yaml")
    assert capsys.readouterr().err.splitlines() == [f"error: {listed[0].strip()}", listed[1]]


def test_foreign_text_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in clean("a\x1b[2Jb\nc")
    assert mask("afk_" + "x" * 30 + "tail") == "afk_…tail"
    assert mask("short") == "…"
    assert [duration(ms) for ms in (0, 4.2, 999, 1240, 125_000, 11_220_000)] == [
        "0 ms", "4.2 ms", "999 ms", "1.24 s", "2 m 05 s", "3 h 07 m",
    ]  # fmt: skip


class Events:
    """Numbers events as the log would."""

    def __init__(self) -> None:
        self.sequence = 0

    def __call__(self, event_type: str, step: str = "", attempt: int = 0, **body: Any) -> RunEvent:
        self.sequence += 1
        ended = event_type.removeprefix("run.")
        status = RunStatus(ended) if ended in ("completed", "failed", "cancelled") else RunStatus.RUNNING
        return RunEvent(
            self.sequence, event_type, 1000 + self.sequence, step, attempt, body, status, 7, self.sequence, 9
        )


def test_the_view_folds_retries_fan_out_and_tokens() -> None:
    event, view = Events(), RunView("run_1")
    nodes = [{"id": "read", "type": "tool"}, {"id": "think", "type": "llm"}, {"id": "each", "type": "function"}]
    view.event(event("run.submitted", workflow="demo", definition={"dag": {"nodes": nodes}}, redactions={"IBAN": 1}))
    assert [(step.name, step.kind, step.status) for step in view.steps.values()] == [
        ("read", "tool", "pending"), ("think", "llm", "pending"), ("each", "function", "pending"),
    ]  # fmt: skip
    view.event(event("run.started", workflow="demo"))
    view.event(event("step.scheduled", "read", 1, kind="tool"))
    view.event(event("step.failed", "read", 1, error={"type": "io", "message": "gone"}))
    assert view.steps["read"].detail == "io: gone"
    view.event(event("timer.set", "read", 1, kind="retry"))
    assert view.steps["read"].status == "retrying"
    view.event(event("step.scheduled", "read", 2, kind="tool"))
    view.event(event("step.completed", "read", 2, duration_ms=12.5, redactions={"IBAN": 2}))
    assert (view.steps["read"].status, view.steps["read"].duration_ms, view.redactions) == (
        "completed", 12.5, {"IBAN": 3},
    )  # fmt: skip
    view.event(event("step.scheduled", "think", 1, kind="llm"))
    view.token(Token("think", 1, 0, "Hel"))
    view.token(Token("think", 1, 3, "lo"))
    assert (view.steps["think"].status, view.steps["think"].tail) == ("running", "Hello")
    usage = {"provider": "local", "model": "m", "input_tokens": 1200, "output_tokens": 3, "cost_nano": 5}
    completed = event("step.completed", "think", 1, llm=usage, duration_ms=3)
    view.event(completed)
    assert view.steps["think"].detail == "local/m · 1,200 + 3 tokens"
    assert "local/m" in line(completed, view.submitted_ms)
    view.event(event("step.expanded", "each", width=2))
    for child in ("each[0]", "each[1]"):
        view.event(event("step.scheduled", child, 1, kind="function"))
        view.event(event("step.completed", child, 1))
    view.event(event("step.joined", "each", status="completed"))
    each = view.steps["each"]
    assert (each.status, each.width, each.children_done, len(view.steps)) == ("completed", 2, 2, 3)
    view.event(event("step.expanded", "rows", width=1))
    view.event(event("step.expanded", "rows[0]", width=1))
    for kind, key in (("scheduled", "rows[0][0]"), ("completed", "rows[0][0]"), ("joined", "rows[0]")):
        view.event(event(f"step.{kind}", key, 1, kind="function", status="completed"))
    assert (view.steps["rows"].width, view.steps["rows"].children_done, len(view.steps)) == (2, 2, 4)
    view.event(event("run.failed", error={"message": "why"}))
    assert (view.ended, view.status, view.error) == (True, "failed", "why")


def test_the_view_follows_a_worker_that_goes_on_with_the_next_step() -> None:
    event, view = Events(), RunView("run_1")
    view.event(event("step.scheduled", "read", 1, kind="tool"))
    completed = event("step.completed", "read", 1, duration_ms=2, begun={"step": "count", "kind": "function"})
    view.event(completed)
    count = view.steps["count"]
    assert (view.steps["read"].status, count.status, count.kind) == ("completed", "running", "function")
    assert line(completed, view.submitted_ms).endswith("goes on with count")
    failed = event("run.failed", error={"type": "full"}, compensated=["a", "b"], uncompensated=["c"])
    assert line(failed, view.submitted_ms).endswith("full  undone: a, b  not undone: c")
    assert line(event("run.compensating", steps=["b", "a"]), view.submitted_ms).endswith("undoes b, a")
    finishing = event("run.finishing", status="failed")
    assert line(finishing, view.submitted_ms).endswith("ends as failed after its last nodes")
    view.event(event("step.completed", "count", 1, duration_ms=3))
    assert (count.status, count.duration_ms) == ("completed", 3)


def test_the_view_takes_the_status_that_an_event_names_from_the_platforms_table() -> None:
    event, view = Events(), RunView("run_1")
    view.event(event("step.queued", "a", lane="gpu"))
    assert (view.steps["a"].status, view.steps["a"].detail) == ("queued", "waits for a slot of lane gpu")
    view.event(event("slot.refused", "a", error={"type": "lane_full", "message": "too many wait"}))
    assert (view.steps["a"].status, view.steps["a"].detail) == ("failed", "lane_full: too many wait")
    for outcome, status in (("completed", "completed"), ("retry", "retrying"), ("fail", "failed")):
        view.event(event("outcome.resolved", "b", outcome=outcome))
        assert view.steps["b"].status == status
    for ended, status in (("continued", "waiting"), ("completed", "completed"), ("cancelled", "failed")):
        view.event(event("child.ended", "c", status=ended))
        assert view.steps["c"].status == status
    view.event(event("timer.set", "c", kind="step_total"))
    assert view.steps["c"].status == "failed"


def test_where_endpoint_and_key_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGENTFLOW_ENDPOINT", "AGENTFLOW_TOKEN", "API_KEY", "AGENTFLOW_ORG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AGENTFLOW_CLI_CONFIG", str(tmp_path / "config.yaml"))
    stack = tmp_path / "stack"
    stack.mkdir()
    monkeypatch.setenv("AGENTFLOW_DATA_DIR", str(stack))
    assert session.resolve({}).endpoint == ""
    (stack / "dev.key").write_text("stack-key\n")
    (stack / "stack.json").write_text(f'{{"grpc": "127.0.0.1:7", "dev_key_file": "{stack}/dev.key"}}')
    found = session.resolve({})
    assert (found.endpoint, found.token, found.sources["token"]) == ("127.0.0.1:7", "stack-key", "the embedded stack")

    session.write_config({"endpoint": "from-file:1", "org_id": "acme"})
    assert (tmp_path / "config.yaml").stat().st_mode & 0o777 == 0o600
    found = session.resolve({})
    # the stack's key is for the stack alone
    assert (found.endpoint, found.token, found.org_id) == ("from-file:1", "", "acme")
    monkeypatch.setenv("AGENTFLOW_ENDPOINT", "from-env:2")
    monkeypatch.setenv("API_KEY", "env-key")
    assert (session.resolve({}).endpoint, session.resolve({}).token) == ("from-env:2", "env-key")
    assert session.resolve({"endpoint": "from-flag:3"}).endpoint == "from-flag:3"


def test_the_demo_judges_the_document_before_anything_starts(tmp_path: Path) -> None:
    good = tmp_path / "a b.md"
    good.write_text("# hello")
    assert demo.check_document(good) == good
    copy = demo.place(good, tmp_path / "data" / "files")
    assert copy.read_text() == "# hello"
    (tmp_path / "empty.txt").touch()
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00")
    (tmp_path / "fake.pdf").write_text("not a pdf")
    for name, words in (
        ("missing.md", "no such file"), ("empty.txt", "empty"), ("image.png", "binary"), ("fake.pdf", "not a PDF"),
        ("", "not a file"),
    ):  # fmt: skip
        with pytest.raises(CliError, match=words) as caught:
            demo.check_document(tmp_path / name)
        assert caught.value.fix
    assert (demo.find_examples() / demo.EXAMPLE).is_file()


def test_the_live_view_draws_every_state() -> None:
    from rich.console import Console

    from agentctl.display import live

    event, view = Events(), RunView("run_1")
    names = [f"s{number}" for number in range(40)]
    nodes = [{"id": name, "type": "llm"} for name in names]
    view.event(event("run.submitted", workflow="demo", definition={"dag": {"nodes": nodes}}))
    view.event(event("step.scheduled", "s39", 1, kind="llm"))
    view.token(Token("s39", 1, 0, "words \x1b[2J " * 80))
    with Path(os.devnull).open("w") as sink:
        console = Console(file=sink, record=True, width=100, force_terminal=False)
        console.print(live._picture(view, 5_000, 100))
    text = console.export_text()
    assert "s39" in text
    assert "more steps" in text
    assert "words" in text
    assert "\x1b[2J" not in text
    assert failures.problem_line(SimpleNamespace(place="", message="m", fix="")) == "m"


def test_a_line_says_what_a_step_waits_for_and_what_came() -> None:
    event = Events()
    told = [
        (event("signal.received", name="go"), " go"),
        (event("step.waiting", "s", kind="signal", detail={"signal": "go"}), "for signal  go"),
        (event("step.waiting", "s", kind="subworkflow", child="run_x"), "for subworkflow  run_x"),
        (event("step.waiting", "s", kind="wait"), "for wait"),
        (event("approval.given", "ok", by="ana", decision="approve"), "ana: approve"),
        (event("step.iterated", "l", iteration=3), "iteration 3"),
        (event("steps.reset", edge="b->a", iteration=2), "b->a taken  iteration 2"),
        (event("graph.advanced", superstep=2, steps=["a", "b"]), "superstep 2  a, b"),
        (event("run.waiting", steps=[f"s{n}" for n in range(8)]), "s0, s1, s2, s3, s4, s5 and 2 more"),
        (event("run.completed", duration_ms=7, continued_as="run_y"), "7 ms  goes on as run_y"),
    ]
    for made, end in told:
        assert line(made, made.ts).endswith(end)


def test_the_end_of_what_begins_now_is_a_span_or_a_time() -> None:
    now = 1_700_000_000_000
    assert values.parse_end("", "--until", now) == 0
    assert values.parse_end("2h", "--until", now) == now + 7_200_000
    assert values.parse_end("1.5m", "--until", now) == now + 90_000
    assert values.parse_end("2023-11-14T22:13:21Z", "--until", now) == now + 1000
    assert values.parse_end("2026-12-01T08:00Z", "--until", now) == 1_796_112_000_000
    for past in ("now", "0s", "2023-11-14T22:13:20Z", "2020-01-31"):
        with pytest.raises(CliError, match="is not after now"):
            values.parse_end(past, "--until", now)
    with pytest.raises(CliError, match="is not a time"):
        values.parse_end("later", "--until", now)
