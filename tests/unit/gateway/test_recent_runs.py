"""What a gateway keeps of the runs that begin while it reads: whole logs or nothing, and never more than its bound."""

from __future__ import annotations

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.consumers import Delivery
from agentflow_gateway.recent_runs import MESSAGE_BYTES, RecentRuns
from agentflow_gateway.run_tails import may_be_end

A, B, C = (subjects.key_of("default", f"run_{name}") for name in "abc")


def first(key: subjects.EntityKey, seq: int) -> Delivery:
    event = ev.RunSubmitted(org=key.org, run=key.name, ts=1, workflow="w", version=1, definition={})
    return delivery(subjects.run_in(key), ev.encode(event), seq)


def started(key: subjects.EntityKey, seq: int) -> Delivery:
    event = ev.RunStarted(org=key.org, run=key.name, ts=1, workflow="w", version=1, steps=1)
    return delivery(subjects.out_run(key), ev.encode(event), seq)


def delivery(subject: str, data: bytes, seq: int) -> Delivery:
    return Delivery(subject, data, seq, 0, 1, 0, "", None)


def test_a_run_is_kept_from_its_first_event_on_or_not_at_all() -> None:
    recent = RecentRuns()
    recent.add(A, first(A, 1))
    assert recent.of(A) is None  # nothing reads
    recent.begin(4)
    recent.add(B, started(B, 5))
    recent.add(A, first(A, 6))
    recent.add(B, started(B, 7))
    recent.add(A, started(A, 8))
    assert recent.of(B) is None
    assert recent.of(A) == [first(A, 6), started(A, 8)]
    recent.end()
    assert recent.of(A) is None


def test_a_run_that_was_submitted_here_is_known_before_its_first_event_has_come() -> None:
    recent = RecentRuns()
    recent.expect(A, 5)
    assert recent.of(A) is None  # nothing reads
    recent.begin(4)
    recent.expect(A, 4)  # it came before the tail began
    assert recent.of(A) is None
    recent.expect(A, 6)
    assert recent.of(A) == []
    recent.add(B, first(B, 5))
    recent.add(A, first(A, 6))
    recent.expect(A, 6)
    recent.expect(B, 5)
    assert (recent.of(A), recent.of(B)) == ([first(A, 6)], [first(B, 5)])


def test_the_runs_that_began_first_leave_first_and_do_not_come_back_in_part() -> None:
    size = len(first(A, 1).data) + 2 * MESSAGE_BYTES
    recent = RecentRuns(bytes_max=2 * size)
    recent.begin(0)
    for seq, key in enumerate((A, B, C), 1):
        recent.add(key, first(key, seq))
    assert [recent.of(key) is None for key in (A, B, C)] == [True, False, False]
    recent.add(A, started(A, 4))
    recent.expect(A, 1)
    assert recent.of(A) is None
    recent.add(C, started(C, 5))
    assert [recent.of(key) is None for key in (A, B, C)] == [True, True, False]
    for seq, key in enumerate((A, B), 6):  # the sizes of those that left were taken off
        recent.add(key, first(key, seq))
    assert [recent.of(key) is None for key in (A, B, C)] == [False, False, True]


def test_a_message_that_is_surely_no_end_wakes_nobody() -> None:
    ended = ev.RunCancelled(org="default", run="run_a", ts=1)
    assert may_be_end(delivery(subjects.out_run(A), ev.encode(ended), 1))
    assert may_be_end(delivery(subjects.out_run(A), b'{"v":2,"type":"run.completed"}', 1))  # written by something else
    assert not may_be_end(started(A, 1))
    assert not may_be_end(first(A, 1))
