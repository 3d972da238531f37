"""What the gateway reads from its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from agentflow_common.settings import DatabaseSettings


class GatewaySettings(DatabaseSettings):
    """Bounds carry their unit in the name; each ends in RESOURCE_EXHAUSTED or INVALID_ARGUMENT, never in silence."""

    api_host: str = "127.0.0.1"
    api_port: int = Field(0, description="port of the gRPC API; 0 picks a free one")
    api_key: str = Field("", description="an API key with every permission in the default org; also the dev key")
    dev_key_file: Path | None = Field(
        None, alias="AGENTFLOW_DEV_KEY_FILE", description="where the key made at first start is written (0600)"
    )
    inputs_bytes_max: int = Field(1024 * 1024, description="inputs of a run as JSON; larger data goes by key")
    calls_active_max: int = Field(512, description="unary calls served at once; the next is refused")
    watchers_max: int = Field(500, description="WatchRun streams served at once; each holds one log consumer")
    watch_queue_max: int = Field(1024, description="messages that one watcher may lag behind")
    key_cache_s: float = Field(5.0, description="for so long a revoked key may still work")
    shutdown_grace_s: float = 2.0
