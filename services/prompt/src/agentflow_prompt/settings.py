"""What the prompt service reads from the environment."""

from __future__ import annotations

from pydantic import Field

from agentflow_common.settings import DatabaseSettings


class PromptSettings(DatabaseSettings):
    """Nothing of its own yet: the database, NATS and the common settings."""

    db_pool_max: int = Field(4, description="connections to PostgreSQL that one process opens at most")
