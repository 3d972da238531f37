"""Settings of the worker, from the environment or the YAML file that AGENTFLOW_CONFIG names."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from agentflow_common.settings import Settings

STEP_TIMEOUT_S_MAX: Final = 3600.0


def _split(separator: str) -> Callable[[Any], Any]:
    def split(value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(separator) if part.strip())
        return value

    return split


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split(","))]
Folders = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split(os.pathsep))]


def _from_json(value: Any) -> Any:
    """Returns the value that a text contains as JSON, and a value of another type as it is."""
    return json.loads(value or "{}") if isinstance(value, str) else value


Databases = Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(_from_json)]


def _worker_id() -> str:
    host = "".join(c if c.isalnum() or c in "-_" else "-" for c in socket.gethostname())
    return f"{host or 'worker'}-{os.getpid()}"


def _env(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class WorkerSettings(Settings):
    """Bounds carry their unit in the name; a key that is empty switches its provider off."""

    worker_id: str = Field(default_factory=_worker_id)
    """the worker's name in events; unique"""

    concurrency: int = Field(10, validation_alias=_env("WORKER_CONCURRENCY", "concurrency"), ge=1, le=1000)
    """steps that the worker runs at a time"""

    pools: Names = Field(("default",), validation_alias=_env("WORKER_LANES", "lanes"))
    """the worker pools whose steps it runs, separated by commas"""

    reports_together: bool = Field(True, validation_alias=_env("WORKER_REPORTS_TOGETHER", "reports_together"))
    """quick steps of a chain are reported in one event (ADR 0013); off while services of a version before 0.2 run"""

    load: Names = Field((), validation_alias=_env("WORKER_LOAD", "load"))
    """modules or .py files with your tools and functions, separated by commas"""

    step_timeout_s_max: float = Field(STEP_TIMEOUT_S_MAX, gt=0)
    """an attempt ends after this long, even if its `timeout_ms` is longer"""

    ack_wait_s: float = Field(10.0, validation_alias=_env("AGENTFLOW_ACK_WAIT_S", "ack_wait_s"), gt=0.5)
    """a task whose worker is silent for this long is offered to another"""

    threads_max: int = Field(16, validation_alias=_env("WORKER_THREADS_MAX", "threads_max"), ge=1, le=256)
    """threads for tools and functions that are not `async`"""

    file_roots: Folders = Field((), validation_alias=_env("AGENTFLOW_FILE_ROOTS", "file_roots"))
    """folders that file tools may touch, separated by `:`; empty: none"""

    data_dir: Path | None = Field(None, validation_alias=_env("AGENTFLOW_DATA_DIR", "data_dir"))
    """the embedded stack's own folder; file tools touch only roots that lie inside of it"""

    file_bytes_max: int = Field(32 * 1024 * 1024, validation_alias=_env("AGENTFLOW_FILE_BYTES_MAX", "file_bytes_max"))
    """size of a file or an object that a tool reads or writes"""

    text_chars_max: int = Field(2_000_000, validation_alias=_env("AGENTFLOW_TEXT_CHARS_MAX", "text_chars_max"))
    """length of the text that a tool reads out of a file; the rest is cut off"""

    http_bytes_max: int = Field(4 * 1024 * 1024, validation_alias=_env("AGENTFLOW_HTTP_BYTES_MAX", "http_bytes_max"))
    """size of an answer that http.get accepts"""

    http_allow_private: bool = Field(False, validation_alias=_env("AGENTFLOW_HTTP_ALLOW_PRIVATE", "http_allow_private"))
    """lets http.get reach private, loopback and link-local addresses"""

    bucket_root: Path | None = Field(None, validation_alias=_env("AGENTFLOW_BUCKET_ROOT", "bucket_root"))
    """folder of `file://` buckets and of ledgers; not set: they are off"""

    trigger_databases: Databases = Field({}, validation_alias=_env("AGENTFLOW_TRIGGER_DATABASES", "trigger_databases"))
    """databases whose rows may start runs, as JSON: `{"shop": "postgresql://user:password@host/name"}`"""

    s3_endpoint: str = ""
    """URL of an S3 server; empty: that of AWS"""

    s3_region: str = Field("us-east-1", validation_alias=_env("AWS_REGION", "AWS_DEFAULT_REGION", "s3_region"))
    """region of the S3 buckets"""

    s3_access_key_id: str = Field("", validation_alias=_env("AWS_ACCESS_KEY_ID", "s3_access_key_id"))
    """id of the access key to S3"""

    s3_secret_access_key: SecretStr = Field(
        SecretStr(""), validation_alias=_env("AWS_SECRET_ACCESS_KEY", "s3_secret_access_key")
    )
    """the access key to S3"""

    s3_session_token: SecretStr = Field(SecretStr(""), validation_alias=_env("AWS_SESSION_TOKEN", "s3_session_token"))
    """session token of temporary access to S3"""

    openai_api_key: SecretStr = SecretStr("")
    """key of OpenAI; empty switches the provider off"""

    openai_base_url: str = ""
    """another URL of OpenAI's API, for example of a proxy"""

    anthropic_api_key: SecretStr = SecretStr("")
    """key of Anthropic; empty switches the provider off"""

    anthropic_base_url: str = ""
    """another URL of Anthropic's API"""

    google_api_key: SecretStr = SecretStr("")
    """key of Google; empty switches the provider off"""

    google_base_url: str = ""
    """another URL of Google's API"""

    cohere_api_key: SecretStr = SecretStr("")
    """key of Cohere; empty switches the provider off"""

    cohere_base_url: str = ""
    """another URL of Cohere's API"""

    llm_timeout_s: float = Field(120.0, validation_alias=_env("AGENTFLOW_LLM_TIMEOUT_S", "llm_timeout_s"), gt=0)
    """how long a call to a model may take if the policy names no `sla_ms`"""

    sim_models: str = Field("", validation_alias=_env("AGENTFLOW_SIM_MODELS", "sim_models"))
    """[simulated models](workflows.md#simulated-models) for tests, as JSON; empty switches the provider `sim` off"""
