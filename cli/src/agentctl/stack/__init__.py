"""The embedded stack: nats-server, PostgreSQL and the seven services as supervised processes, in one data dir.

For the command line (they print, and return an exit code):

    up(Options(data_dir=..., detach=True, grpc_port=0, load=["my_tools.py"])) -> int
        In the foreground it runs until SIGTERM or SIGINT. Detached, it returns when every part is ready; on failure
        it prints the end of the failing part's log and returns 1. If the stack runs already, it prints the endpoints
        and returns 0. If it runs with other settings, it says so and returns 1, or restarts it with restart=True.
    remembered(options, given) -> Options
        The options; those that are not in `given` have the value of the last start.

For programs (they raise StackError, which says what to do):

    start(options) -> StackInfo          detached, returns when ready; a running stack is returned as it is
    down(data_dir) -> bool               stops cleanly and waits; False if nothing ran
    status(data_dir) -> list[PartStatus] every part with its health; [] if nothing ran
    find(data_dir) -> StackInfo | None   the running, ready stack of this data dir
    default_data_dir() -> Path           $AGENTFLOW_DATA_DIR, else ./.agentflow

`StackInfo` is `<data_dir>/stack.json`, there while the stack is ready:

    {"pid", "grpc": "127.0.0.1:PORT", "http": "http://127.0.0.1:PORT", "nats": URL, "postgres": {"DB_HOST", ...},
     "services": {name: {"pid", "http": URL}}, "dev_key_file", "data_dir", "started_at", "ready_s", "version"}
"""

from agentctl.stack.choices import remembered
from agentctl.stack.control import down, find, start, status, up
from agentctl.stack.layout import (
    SERVICES,
    Options,
    PartStatus,
    ServiceInfo,
    StackInfo,
    default_data_dir,
)
from agentflow_common.embedded.servers import StackError

__all__ = [
    "SERVICES",
    "Options",
    "PartStatus",
    "ServiceInfo",
    "StackError",
    "StackInfo",
    "default_data_dir",
    "down",
    "find",
    "remembered",
    "start",
    "status",
    "up",
]
