"""Redactions."""

from __future__ import annotations

from typing import Final

from agentflow_common.metrics.bounded import counter
from agentflow_common.metrics.labels import ENTITY

FINDINGS: Final = counter("security_findings", "Sensitive values replaced by vault tokens (redactions)", ENTITY)
RESTORED: Final = counter("security_restored", "Vault tokens replaced by their originals", ENTITY)
BLOCKED: Final = counter("security_blocked", "Texts that could not be examined and were not passed on").metric
