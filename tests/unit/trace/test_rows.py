"""A message becomes one row: whose it is, what it is called, what it cost."""

from __future__ import annotations

import re

from agentflow_common import events as ev
from agentflow_common import package_files, subjects
from agentflow_trace import rows
from tests.support import reported_together
from tests.support.paths import GOLDEN

KEY = subjects.key_of("acme", "run_1")
TS = 1_763_700_000_000


def _row(event: ev.Event, subject: str, headers: dict[str, str] | None = None) -> rows.Row:
    return rows.of("AF_EVENTS", subject, ev.encode(event), 7, TS + 5, headers)


def test_a_completed_llm_step_keeps_its_route_tokens_cost_and_redactions() -> None:
    usage = ev.LlmUsage("openai", "m", "analyzer@3", 120, 30, 4_200, cache_hit=True)
    event = ev.StepCompleted(
        org="acme", run="run_1", ts=TS, step="a[2]", attempt=2, worker="w1", started_at=TS - 40, duration_ms=39.5,
        llm=usage, redactions={"EMAIL_ADDRESS": 2}, trace="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )  # fmt: skip
    row = _row(event, subjects.run_in(KEY))
    assert row == rows.Row(*row)
    assert len(row) == len(rows.COLUMNS)
    assert (row.org, row.run, row.type, row.step, row.attempt) == ("acme", "run_1", "step.completed", "a[2]", 2)
    assert (row.provider, row.model, row.prompt, row.cache_hit) == ("openai", "m", "analyzer@3", True)
    assert (row.input_tokens, row.output_tokens, row.cost_nano) == (120, 30, 4_200)
    assert (row.started_at, row.duration_ms, row.ts, row.stored_at) == (TS - 40, 39.5, TS, TS + 5)
    assert row.redactions == {"EMAIL_ADDRESS": 2}
    assert row.trace_id == "a" * 32
    assert row.body.encode() == ev.encode(event)


def test_every_event_type_has_a_row_of_its_own_name() -> None:
    golden = GOLDEN
    files = [file for file in golden.glob("*.json") if not file.name.startswith("api.")]
    assert files
    for file in files:
        data = file.read_bytes()
        row = rows.of("AF_EVENTS", subjects.run_in(KEY), data, 1, TS)
        assert row.type == ev.event_type(ev.decode(data))


def test_a_runs_final_cost_is_not_counted_beside_its_steps() -> None:
    assert _row(ev.RunCompleted(org="acme", run="run_1", ts=TS, cost_nano=9), subjects.out_run(KEY)).cost_nano == 0
    failed = ev.StepFailed(
        org="acme", run="run_1", ts=TS, step="a", attempt=1, error=ev.StepError("rate_limited", "slow down"),
        llm=ev.LlmUsage("p", "m", "", 1, 0, 11),
    )  # fmt: skip
    row = _row(failed, subjects.run_in(KEY))
    assert (row.cost_nano, row.error_type, row.error) == (11, "rate_limited", "slow down")


def test_the_subject_decides_whose_a_row_is() -> None:
    forged = ev.StepStarted(org="other", run="run_2", ts=TS, step="a", attempt=1, worker="w")
    row = _row(forged, subjects.run_in(KEY))
    assert (row.org, row.run) == ("acme", "run_1")
    assert rows.owner(subjects.cost_ledger("acme", "run_1")) == ("acme", "run_1")
    assert rows.owner(subjects.audit("acme", "")) == ("acme", "")
    assert rows.owner("something.else") == ("", "")


def test_a_schedule_is_not_the_fact_that_it_will_tell() -> None:
    fired = ev.TimerFired(org="acme", run="run_1", ts=TS, timer="retry:a:1", kind="retry", step="a", attempt=1)
    row = _row(fired, subjects.timer(KEY, "retry:a:1"), {"Nats-Schedule": "@at 2030-01-01T00:00:00Z"})
    assert (row.type, row.org, row.run, row.step) == (rows.SCHEDULE, "acme", "run_1", "a")
    assert _row(fired, subjects.run_in(KEY), {"Nats-Scheduler": "x"}).type == "timer.fired"
    assert rows.of("AF_EVENTS", subjects.timer(KEY, "t"), b"\xff", 1, TS).type == rows.SCHEDULE
    place, body = subjects.run_in(KEY), ev.encode(fired)
    due = b"NATS/1.0\r\nNats-Schedule: @at 2030-01-01T00:00:00Z\r\n\r\n"  # headers as they came
    assert rows.of("AF_EVENTS", place, body, 1, TS, due).type == rows.SCHEDULE
    came = b"NATS/1.0\r\nNats-Scheduler: x\r\nNats-Schedule-Next: purge\r\n\r\n"
    assert rows.of("AF_EVENTS", place, body, 1, TS, came).type == "timer.fired"


def test_what_cannot_be_read_is_a_row_of_its_run() -> None:
    for data in (b"", b"\xff\x00", b"[1]", b'{"type":7}', b'{"type":"x","ts":-1}', b'{"type":"x","ts":1,"attempt":-1}'):
        row = rows.of("AF_EVENTS", subjects.run_in(KEY), data, 3, TS)
        assert (row.type, row.org, row.run, row.stream_seq) == (rows.UNDECODABLE, "acme", "run_1", 3)


def test_the_columns_are_those_of_the_table() -> None:
    folder = package_files.find(rows.__file__, "migrations")
    sql = (folder / "0001_events.sql").read_text()
    table = sql[: sql.index("ENGINE")]
    declared = dict(re.findall(r"^    (\w+) (.+?)(?: CODEC.*)?,?$", table, re.MULTILINE))
    later = "".join(file.read_text() for file in sorted(folder.glob("*.sql")))
    added = re.findall(r"^ALTER TABLE (\w+) ADD COLUMN IF NOT EXISTS (\w+) (.+);$", later, re.MULTILINE)
    declared |= {name: kind for table, name, kind in added if table == "events"}
    assert [a[1:] for a in added if a[0] == "events"] == [a[1:] for a in added if a[0] == "archive" and a[1] != "log"]
    sent = {name: kind.replace("LowCardinality(String)", "String") for name, kind in declared.items()}
    assert list(declared) == list(rows.COLUMNS)
    assert sent == rows.COLUMNS


def test_a_batch_ends_where_its_partition_ends() -> None:
    edge = rows.PARTITION_ROWS
    batch = [rows.removed("AF_EVENTS", seq, TS) for seq in range(edge - 2, edge + 3)]
    assert rows.same_partition(batch) == 2
    assert rows.same_partition(batch[2:]) == 3


def test_a_report_of_several_steps_is_a_row_for_each() -> None:
    event = next(event for _, event in reported_together.events("acme", "run_1") if ev.step_of(event) == "count")
    data = ev.encode(event)
    row = rows.of("AF_EVENTS", subjects.run_in(KEY), data, 7, TS)
    found = rows.singly(row, data)
    assert found[-1] is row
    assert [(one.step, one.later, one.duration_ms, one.ts - reported_together.TS) for one in found] == [
        ("fetch", 2, 0.5, 4), ("clean", 1, 1.5, 6), ("count", 0, 2.5, 9),
    ]  # fmt: skip
    assert [one.redactions for one in found] == [{"PHONE_NUMBER": 1}, {}, {"PHONE_NUMBER": 2}]
    assert {(one.stream_seq, one.stored_at, one.org, one.run, one.worker, one.trace_id) for one in found} == {
        (7, TS, "acme", "run_1", "w", "a1" * 16)
    }
    assert found[-1].body.encode() == data
    after = _row(ev.StepStarted(org="acme", run="run_1", ts=TS, step="a", attempt=1, worker="w"), subjects.run_in(KEY))
    numbered = list(rows.parts([*found, after, *found]))
    assert [part for part, _ in numbered] == [0, 1, 2, 0, 0, 1, 2]
    assert [rows.own_body(one, part).encode() for part, one in numbered[:3]] == [
        ev.encode(one) for one in ev.single(event)
    ]
    assert rows.own_body(after, 0) == after.body


def test_any_other_message_is_one_row() -> None:
    report = b'{"type":"step.completed","org":"acme","run":"run_1","ts":1,"step":"a","attempt":1,"before":%s}'
    started = b'{"type":"step.started","org":"acme","run":"run_1","ts":1,"step":"a","attempt":1,"before":[1]}'
    for data in (started, b"", *(report % nonsense for nonsense in (b"[]", b"[1]", b"null", b'[{"step":"b"}]'))):
        row = rows.of("AF_EVENTS", subjects.run_in(KEY), data, 7, TS)
        assert list(rows.singly(row, data)) == [row]
