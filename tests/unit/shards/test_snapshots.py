"""What a snapshot of a shard holds, as bytes, and which shard is saved when."""

from __future__ import annotations

from typing import Any

import msgspec

from agentflow_common.runs.state import RunState
from agentflow_scheduler.entities import State
from agentflow_scheduler.shards.snapshots import Saver, Snapshot, decode_snapshot, encode_snapshot

ONE: dict[str, Any] = {"name": "one", "dag": {"nodes": ["x" * 1000]}}
TWO: dict[str, Any] = {"name": "two"}
STORE: Any = None  # nothing is stored


def states() -> list[State]:
    return [
        RunState(org="o", run=f"run_{number}", definition=TWO if number % 3 else ONE, tags={"n": str(number)})
        for number in range(30)
    ]


def test_states_come_back_as_they_were_and_each_definition_is_written_once() -> None:
    data = encode_snapshot(7, states())
    assert data.count(b"x" * 1000) == 1
    back = decode_snapshot(data)
    assert back is not None
    assert (back.seq, back.states()) == (7, states())


def test_a_snapshot_of_an_earlier_version_is_read() -> None:
    runs = [state for state in states() if isinstance(state, RunState)]
    back = decode_snapshot(msgspec.msgpack.encode(Snapshot(1, 7, runs)))
    assert back is not None
    assert back.states() == states()


def test_what_another_version_wrote_or_what_is_damaged_is_not_read() -> None:
    assert decode_snapshot(msgspec.msgpack.encode(Snapshot(3, 7, []))) is None
    damaged = Snapshot(2, 7, [RunState(org="o", run="run_1")], definitions=[], of=[4])
    assert decode_snapshot(msgspec.msgpack.encode(damaged)) is None
    assert decode_snapshot(msgspec.msgpack.encode(Snapshot(2, 7, [RunState(org="o", run="run_1")]))) is None
    assert decode_snapshot(b"\x00") is None


async def test_once_there_is_too_much_every_shard_has_its_turn() -> None:
    saver = Saver(STORE, 100)
    for shard, count in ((1, 30), (2, 60), (3, 9)):
        saver.count(shard, count)
    assert saver.due(0, idle=False) is None
    saver.count(4, 1)
    order = []
    while (due := saver.due(0, idle=False)) is not None:
        order.append(due)
        saver.forget(due)
    assert order == [2, 1, 3, 4]


async def test_less_is_saved_where_nothing_else_is_to_be_done_but_not_less_than_it_costs() -> None:
    saver = Saver(STORE, 100)
    saver.count(1, 10)
    assert saver.due(0, idle=False) is None
    assert saver.due(11, idle=True) is None
    assert saver.due(10, idle=True) == 1
