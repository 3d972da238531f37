"""The environment variables of the services, made from a data dir and the options in this one place."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

from agentctl.stack.layout import Layout, Options
from agentflow_common.embedded.servers import StackError

# The stack sets these itself: the user's values would point the services at other servers.
SET_BY_THE_STACK = (
    "NATS_URL",
    "DB_",
    "CLICKHOUSE_",
    "HTTP_PORT",
    "HTTP_HOST",
    "API_HOST",
    "API_PORT",
    "API_HTTP_PORT",
    "WORKER_LOAD",
)


def token(path: Path) -> str:
    """Returns the secret that NATS clients need, so that other users of this machine can't read the log."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


def load_modules(items: list[str] | tuple[str, ...]) -> str:
    """Returns the modules to load, files with absolute paths. Raises StackError for a missing file."""
    found: list[str] = []
    for item in items:
        if item.endswith(".py") or os.sep in item:
            path = Path(item).absolute()
            if not path.is_file():
                raise StackError(f"--load {item}: no such file; give a .py file or the name of an importable module")
            found.append(str(path))
        else:
            found.append(item)
    return ",".join(found)


def services_environment(
    layout: Layout, options: Options, nats_url: str, database: Mapping[str, str]
) -> dict[str, str]:
    """Returns the environment that all services share. The ports of each service come on top."""
    named = {**os.environ, **options.env}
    kept = {name: value for name, value in named.items() if not name.startswith(SET_BY_THE_STACK)}
    folders = options.env.get("AGENTFLOW_FILE_ROOTS") or os.environ.get("AGENTFLOW_FILE_ROOTS", "")
    given = options.file_roots or [folder for folder in folders.split(os.pathsep) if folder]
    roots = [str(Path(root).absolute()) for root in given] or [str(Path.cwd()), str(layout.files)]
    ours = {
        "NATS_URL": nats_url,
        **database,
        "CLICKHOUSE_PATH": str(layout.clickhouse),
        "AGENTFLOW_RUN_DIR": str(layout.run),
        "AGENTFLOW_DATA_DIR": str(layout.root),
        "AGENTFLOW_DEV_KEY_FILE": str(layout.dev_key),
        "AGENTFLOW_VAULT_KEY_FILE": str(layout.vault_key),
        "AGENTFLOW_DURABILITY": options.durability,
        "AGENTFLOW_REPLICAS": "1",
        "AGENTFLOW_FILE_ROOTS": os.pathsep.join(roots),
        "WORKER_LOAD": load_modules(tuple(options.load)),
        "HTTP_HOST": "127.0.0.1",
        "API_HOST": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
    }
    # Two cores and many processes: thread pools and malloc arenas of their own would only cost memory.
    usual = {"AGENTFLOW_BUCKET_ROOT": str(layout.root / "buckets")}  # of file:// buckets, unless the user names another
    modest = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GRPC_VERBOSITY": "ERROR"}
    return modest | usual | kept | ours | {"TMPDIR": tempfile.gettempdir()}
