"""Errors of the event log that pass by themselves. connections/transient.py adds those of databases."""

from __future__ import annotations

from typing import Final

import nats.errors

from agentflow_common.errors import AgentFlowError
from agentflow_common.log.consumers import PullError

NATS: Final[tuple[type[Exception], ...]] = (nats.errors.Error, PullError)
AWAY: Final[tuple[type[Exception], ...]] = (*NATS, TimeoutError)
"""NATS, or the leader of a stream, does not answer now."""
SURVIVED: Final[tuple[type[Exception], ...]] = (*AWAY, AgentFlowError)
"""Errors that a loop which follows the log survives: it reports them and tries again."""
