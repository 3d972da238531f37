"""What the cost service reads from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from agentflow_common.settings import DatabaseSettings


class CostSettings(DatabaseSettings):
    """models_file: another models.yaml. sweep_s: how often expired reservations are given back."""

    models_file: Path | None = Field(None, alias="AGENTFLOW_MODELS_FILE")
    sweep_s: float = Field(30.0, alias="AGENTFLOW_COST_SWEEP_S", gt=0)
