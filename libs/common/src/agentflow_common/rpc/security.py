"""Questions to the security service: protect a value, restore its originals, adopt those of another run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from agentflow_common import screening
from agentflow_common.rpc.verbs import Message, Verb


class ProtectRequest(Message, frozen=True):
    """Replace what is sensitive in every string of `value` by reversible tokens of this run."""

    org: str
    run: str
    value: Any
    purpose: str = "output"  # `input`, `output`, `prompt`, `completion`, `error` or `reason`
    step: str = ""


class ProtectReply(Message, frozen=True):
    """The value with its findings replaced by vault tokens."""

    value: Any  # same shape as asked
    counts: dict[str, int] = {}  # findings by category (`EMAIL_ADDRESS`), each occurrence counted


class RestoreRequest(Message, frozen=True):
    """Put the originals back; audited with actor and reason."""

    org: str
    run: str
    value: Any
    actor: str
    reason: str
    step: str = ""


class RestoreReply(Message, frozen=True):
    value: Any
    restored: int = 0


class AdoptRequest(Message, frozen=True):
    """Keeps the originals behind the vault tokens of the run `origin` for `run` too: a fork holds its values."""

    org: str
    run: str
    origin: str


class AdoptReply(Message, frozen=True):
    adopted: int = 0


PROTECT = Verb("security", "protect", ProtectRequest, ProtectReply, 30.0)
RESTORE = Verb("security", "restore", RestoreRequest, RestoreReply, 30.0)
ADOPT = Verb("security", "adopt", AdoptRequest, AdoptReply, 30.0)


async def protected(request: ProtectRequest, ask: Callable[[], Awaitable[ProtectReply]]) -> ProtectReply:
    """Returns the service's reply, or the value itself where the service would find nothing in it.

    `ask` sends the request: callers differ in how long they try again.
    """
    if not screening.needs_screening(request.value):
        return ProtectReply(request.value)
    return await ask()
