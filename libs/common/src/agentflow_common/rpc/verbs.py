"""A question that one service asks another: its subject, the types of request and reply, its timeout."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from agentflow_common import subjects

Reply = TypeVar("Reply")


class Verb(msgspec.Struct, Generic[Reply], frozen=True):
    """One question: its subject, the request type, the reply type and a default timeout."""

    service: str
    name: str
    request: type[Any]
    reply: type[Reply]
    timeout_s: float = 10.0

    @property
    def subject(self) -> str:
        return subjects.rpc(self.service, self.name)


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of every request and reply."""


class Empty(Message, frozen=True):
    """Nothing to say."""
