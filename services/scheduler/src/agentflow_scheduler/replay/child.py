"""`python -m agentflow_scheduler.replay.child`: replays logs in a process of its own, so that scheduling goes on.

A question and an answer are frames: four bytes with the length, then JSON. The process ends when its input ends.
"""

from __future__ import annotations

import os
import sys
from typing import IO, Final

import msgspec

from agentflow_common import subjects
from agentflow_common.errors import AgentFlowError, ErrorBody, to_body
from agentflow_common.rpc.scheduler import ReplayReply
from agentflow_scheduler.replay import history
from agentflow_scheduler.replay.replay import replay

NICE: Final = 10  # scheduling comes first
LENGTH_BYTES: Final = 4


class Question(msgspec.Struct):
    """A log as the store has it, and the values that it refers to."""

    org: str
    run: str
    messages: list[tuple[str, bytes, int]]  # subject, data, sequence
    values: dict[str, msgspec.Raw] = {}  # by SHA-256


class Answer(msgspec.Struct):
    """A reply or an error."""

    ok: ReplayReply | None = None
    error: ErrorBody | None = None


def answer(question: Question) -> Answer:
    """Replays the log of a question."""
    key = subjects.key_of(question.org, question.run)
    values = {sha: msgspec.json.decode(value) for sha, value in question.values.items()}
    try:
        return Answer(ok=replay(key, history.from_messages(question.messages), values))
    except AgentFlowError as error:
        return Answer(error=to_body(error))


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Answers until the input ends."""
    while len(head := source.read(LENGTH_BYTES)) == LENGTH_BYTES:
        data = source.read(int.from_bytes(head, "big"))
        reply = msgspec.json.encode(answer(msgspec.json.decode(data, type=Question)))
        sink.write(len(reply).to_bytes(LENGTH_BYTES, "big") + reply)
        sink.flush()


if __name__ == "__main__":
    os.nice(NICE)
    serve(sys.stdin.buffer, sys.stdout.buffer)
