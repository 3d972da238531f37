"""The settings that the gateway reads from its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from agentflow_common.definition.nodes.base import SUBWORKFLOW_DEPTH_MAX
from agentflow_common.settings import DatabaseSettings


class ConfiguredKey(BaseModel):
    """An API key of the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: SecretStr = Field(min_length=8)
    org_id: str = ""  # empty: the default org
    permissions: tuple[str, ...] = ("read", "write")
    name: str = "settings"


class GatewaySettings(DatabaseSettings):
    """Bounds carry their unit in the name; each ends in RESOURCE_EXHAUSTED or INVALID_ARGUMENT, never in silence."""

    api_host: str = "127.0.0.1"
    """the address that the gRPC and the HTTP API listen on"""

    api_port: int = 0
    """port of the gRPC API; 0 picks a free one"""

    api_http_port: int = 0
    """port of the HTTP API (webhooks); 0 picks a free one"""

    api_key: str = ""
    """an API key that gets every permission in the default org"""

    api_keys: tuple[ConfiguredKey, ...] = ()
    """API keys as a list of `{key, org_id, permissions}`, in the environment as JSON; a key that is taken out of the
    list works until it is revoked
    """

    dev_key_file: Path | None = Field(None, alias="AGENTFLOW_DEV_KEY_FILE")
    """where the key that the first start makes is written (0600)"""

    inputs_bytes_max: int = 1024 * 1024
    """inputs of a run as JSON; put larger data into a bucket"""

    calls_active_max: int = 512
    """unary calls served at once; the next one is refused"""

    watchers_max: int = 500
    """WatchRun streams served at once"""

    watch_queue_max: int = 1024
    """messages that are kept in memory for one watcher; one that lags further reads them from the log"""

    waiters_max: int = 10_000
    """WaitRun calls served at once"""

    wait_s_max: float = 60.0
    """how long one WaitRun call waits for the end of a run; then it answers with the run so far"""

    key_cache_s: float = 5.0
    """how long a revoked key may still work"""

    max_active_runs: int = Field(200_000, ge=0)
    """active runs of all orgs; further submissions are refused; 0: no bound"""

    max_active_runs_per_org: int = Field(0, ge=0)
    """active runs of one org; 0: no bound"""

    max_ready_steps: int = Field(1_000_000, ge=0)
    """steps that wait for workers; further submissions are refused; 0: no bound"""

    max_scheduler_rss_bytes: int = Field(0, ge=0)
    """memory of a single scheduler; 0: no bound"""

    subworkflow_depth_max: int = Field(SUBWORKFLOW_DEPTH_MAX, ge=1, le=100)
    """levels of runs below the submitted one; the gateway and the schedulers need the same"""

    trigger_subjects: str = ""
    """NATS subjects that schedules may listen to: patterns separated by commas, `{org}` is the
    caller's org; empty: all for the default org, `<org>.>` for the others
    """

    shutdown_grace_s: float = 2.0
    """how long calls that are being served may go on after SIGTERM"""
