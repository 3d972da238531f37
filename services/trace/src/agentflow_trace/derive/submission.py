"""The facts about a run in the body of `run.submitted`. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Final

import msgspec

from agentflow_common.errors import UNREADABLE

DEFINITIONS_MAX: Final = 1_000  # kept decoded, by digest


class _Parent(msgspec.Struct):
    run: str = ""
    step: str = ""
    attempt: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0


class _Origin(msgspec.Struct):
    run: str = ""
    kind: str = ""


class Submission(msgspec.Struct):
    """The fields that have no column in `events`."""

    tags: dict[str, str] = {}
    parent: _Parent | None = None
    origin: _Origin | None = None
    digest: str = ""
    definition: msgspec.Raw = msgspec.Raw(b"{}")


class _Node(msgspec.Struct):
    id: str = ""
    type: str = ""


class _Dag(msgspec.Struct, frozen=True):
    nodes: tuple[_Node, ...] = ()


class _Definition(msgspec.Struct):
    dag: _Dag = _Dag()


NOTHING: Final = Submission()
_decoder: Final = msgspec.json.Decoder(Submission)
_definitions: Final = msgspec.json.Decoder(_Definition)


def read(body: str) -> Submission:
    """Returns what a submission says, or nothing if another program wrote it in a way that can't be read."""
    try:
        return _decoder.decode(body)
    except UNREADABLE:
        return NOTHING


def kinds(submission: Submission) -> dict[str, str]:
    """Returns the type of each node. The definition is decoded once, as long as its digest is known."""
    if submission.digest:
        return _by_digest(_Keyed(submission.digest, submission.definition))
    return _kinds(submission.definition)


class _Keyed:
    """A definition that is compared by its digest."""

    def __init__(self, digest: str, definition: msgspec.Raw) -> None:
        self.digest = digest
        self.definition = definition

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and other.digest == self.digest


@lru_cache(DEFINITIONS_MAX)
def _by_digest(keyed: _Keyed) -> dict[str, str]:
    found = _kinds(keyed.definition)
    keyed.definition = msgspec.Raw(b"{}")  # the cache keeps the key
    return found


def _kinds(definition: msgspec.Raw) -> dict[str, str]:
    try:
        return {node.id: node.type for node in _definitions.decode(definition).dag.nodes}
    except UNREADABLE:
        return {}
