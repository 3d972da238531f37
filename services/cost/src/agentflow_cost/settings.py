"""Settings of the cost service, read from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from agentflow_common.settings import DatabaseSettings


class CostSettings(DatabaseSettings):
    """The database, and the routes and prices of models."""

    models_file: Path | None = Field(None, alias="AGENTFLOW_MODELS_FILE")
    """a `models.yaml` that replaces the built-in list of models"""

    sweep_s: float = Field(30.0, alias="AGENTFLOW_COST_SWEEP_S", gt=0)
    """how often expired reservations are released"""
