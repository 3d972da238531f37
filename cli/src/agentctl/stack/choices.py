"""Compares the options of a start with those of the running stack and of the last start."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from agentctl.stack import layout as files
from agentctl.stack.layout import Layout, Options, StackInfo
from agentflow_common.embedded.servers import StackError

KEPT: Final = (
    "load",
    "file_roots",
    "durability",
    "postgres_port",
    "observability",
)  # other ports are kept in ports.json
# The other settings of the services. Importing their classes would take a second; a test compares this with them.
SETTINGS: Final = frozenset(
    {
        "API_KEYS",
        "AGENTFLOW_TRACE_EXPORT",
        "AGENTFLOW_TRACE_EXPORT_HEADERS",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "CALLS_ACTIVE_MAX",
        "DEFAULT_ORG_ID",
        "INPUTS_BYTES_MAX",
        "KEY_CACHE_S",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "MAX_ACTIVE_RUNS",
        "MAX_ACTIVE_RUNS_PER_ORG",
        "MAX_READY_STEPS",
        "MAX_SCHEDULER_RSS_BYTES",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "RETENTION_HOURS",
        "RETENTION_MIN_S",
        "RETENTION_SWEEP_S",
        "S3_ENDPOINT",
        "SCHEDULER_LEASE_TTL_S",
        "SCHEDULER_ROW_STEPS",
        "SCHEDULER_SNAPSHOT_EVERY",
        "SCHEDULER_WINDOW_STEPS",
        "SHUTDOWN_GRACE_S",
        "STEP_TIMEOUT_S_MAX",
        "SUBWORKFLOW_DEPTH_MAX",
        "TRACE_BATCH_AGE_MS",
        "TRACE_BATCH_ROWS",
        "TRACE_BODIES_DAYS",
        "TRACE_DERIVED_DAYS",
        "TRACE_EXPORT_SAMPLE",
        "TRIGGER_SUBJECTS",
        "WAITERS_MAX",
        "WAIT_S_MAX",
        "WATCHERS_MAX",
        "WATCH_QUEUE_MAX",
        "WORKER_CONCURRENCY",
        "WORKER_ID",
        "WORKER_LANES",
        "WORKER_REPORTS_TOGETHER",
        "WORKER_THREADS_MAX",
    }
)
_WATCHED: Final = re.compile(r"(AGENTFLOW_\w+|\w+_API_KEY|\w+_BASE_URL)\Z")
# those of the command line and of tests, and those that the stack sets itself
_NOT_WATCHED: Final = re.compile(
    r"AGENTFLOW_(ENDPOINT|TOKEN|ORG_ID|CLI_CONFIG|DATA_DIR|RUN_DIR|DEV_KEY_FILE|VAULT_KEY_FILE|DURABILITY|REPLICAS|"
    r"FILE_ROOTS|TEST_\w+)\Z"
)


class Environment(msgspec.Struct, frozen=True):
    """The file `environment.json`: the variables that the services were started with, as salted digests."""

    salt: str
    digests: dict[str, str]


def is_watched(name: str) -> bool:
    """True for a variable that the stack passes on and that changes what a service does."""
    return name in SETTINGS or (_WATCHED.match(name) is not None and _NOT_WATCHED.match(name) is None)


def environment_of(variables: Mapping[str, str], salt: str = "") -> Environment:
    """Returns the digests of the variables that matter to the services."""
    salt = salt or secrets.token_hex(16)
    watched = {name: value for name, value in variables.items() if value and is_watched(name)}
    return Environment(salt, {name: _digest(salt, value) for name, value in sorted(watched.items())})


def _digest(salt: str, value: str) -> str:
    return hmac.new(bytes.fromhex(salt), value.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:32]


def remembered(options: Options, given: frozenset[str]) -> Options:
    """Returns the options; those that were not given have the value of the last start in this data dir."""
    layout = Layout(options.data_dir)
    try:
        last = files.options_of(layout.options_json.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return options
    kept: dict[str, Any] = {name: getattr(last, name) for name in KEPT if name not in given}
    for item in kept.get("load", ()):
        if (item.endswith(".py") or os.sep in item) and not Path(item).is_file():
            raise StackError(
                f"--load {item} of the last start: there is no such file any more; "
                "name what to load with --load, or nothing with --load ''"
            )
    return msgspec.structs.replace(options, **kept)


def differences(
    info: StackInfo, running: Options, then: Environment | None, asked: Options, given: frozenset[str],
    variables: Mapping[str, str],
) -> list[str]:  # fmt: skip
    """Returns one line for each setting that differs from the running stack. given: the options that were named."""
    found = []
    for field, name in (("load", "--load"), ("file_roots", "--file-root")):
        wanted, there = (", ".join(map(str, getattr(options, field))) or "nothing" for options in (asked, running))
        if field in given and wanted != there:
            found.append(f"{name} {wanted}: it runs with {there}")
    if "durability" in given and asked.durability != running.durability:
        wanted, there = (
            f"--{'' if mode == 'fsync' else 'no-'}fsync" for mode in (asked.durability, running.durability)
        )
        found.append(f"{wanted}: it runs with {there}")
    ports = (
        ("--port", asked.grpc_port, _port(info.grpc)),
        ("--http-port", asked.http_port, _port(info.http)),
        ("--nats-port", asked.nats_port, _port(info.nats)),
    )
    found += [f"{name} {port}: it listens on {there}" for name, port, there in ports if port and port != there]
    if "postgres_port" in given and asked.postgres_port != running.postgres_port:
        found.append(f"--postgres-port {asked.postgres_port}: it runs with {running.postgres_port}")
    if "observability" in given and asked.observability != running.observability:
        wanted, there = (f"--{'' if each.observability else 'no-'}observability" for each in (asked, running))
        found.append(f"{wanted}: it runs with {there}")
    if then is not None:
        now = environment_of(variables, then.salt).digests
        for name, digest in now.items():
            if then.digests.get(name) != digest:
                why = "was not set" if name not in then.digests else "had another value"
                found.append(f"{name}: it {why} when the stack was started")
    return found


def edited(running: Options, started_at: float) -> list[str]:
    """Returns one line for each file with tools that was changed after the start. started_at: s since the epoch."""
    found = []
    for item in running.load:
        path = Path(item)
        if item.endswith(".py") and path.is_file() and path.stat().st_mtime > started_at:
            found.append(f"--load {item}: the file was changed after the stack was started")
    return found


def _port(address: str) -> int:
    return int(address.rsplit(":", 1)[1])
