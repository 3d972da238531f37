"""The question by which a run takes over another run's redactions; see rpc.py."""

from __future__ import annotations

import msgspec

from agentflow_common.rpc import Verb


class AdoptRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Keeps the originals behind the vault tokens of the run `origin` for `run` too: a fork holds its values."""

    org: str
    run: str
    origin: str


class AdoptReply(msgspec.Struct, frozen=True, kw_only=True):
    adopted: int = 0


ADOPT = Verb("security", "adopt", AdoptRequest, AdoptReply, 30.0)
