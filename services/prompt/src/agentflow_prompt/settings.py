"""Settings of the prompt service, read from the environment."""

from __future__ import annotations

from agentflow_common.settings import DatabaseSettings


class PromptSettings(DatabaseSettings):
    """The settings of the database, of NATS and of every service."""

    db_pool_max: int = 4
    """connections to PostgreSQL that one process opens at most"""
