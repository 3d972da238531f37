"""Bounds that the settings and the pure machine share."""

from __future__ import annotations

from typing import Final

CHAIN_STEPS: Final = 32  # steps that a task may name beside its own (ADR 0009)
