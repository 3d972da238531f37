"""A whole stack for a test."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from agentctl.stack import control
from agentctl.stack.layout import SERVICES, Layout, Options, PartStatus, StackInfo
from agentflow_common.embedded.servers import StackError


class RunningStack:
    """A detached stack and its addresses. The address of a service changes when it is killed, so read it again then."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.data_dir = Path(options.data_dir).absolute()
        self._info = control.start(options)

    @property
    def info(self) -> StackInfo:
        self._info = control.find(self.data_dir) or self._info
        return self._info

    @property
    def grpc(self) -> str:
        return self.info.grpc

    @property
    def http(self) -> str:
        return self.info.http

    @property
    def nats_url(self) -> str:
        return self.info.nats

    @property
    def dev_key(self) -> str:
        return Path(self.info.dev_key_file).read_text().strip()

    def log(self, name: str) -> str:
        """Returns the log of a part so far."""
        return Layout(self.data_dir).log(name).read_text(errors="replace")

    def status(self) -> dict[str, PartStatus]:
        return {part.name: part for part in control.status(self.data_dir)}

    def kill(self, name: str, signum: int = signal.SIGKILL) -> int:
        """Kills a part with SIGKILL or `signum`, and returns the pid that it had. The supervisor starts it again."""
        pid = self.status()[name].pid
        if pid <= 0:
            raise StackError(f"{name} is not running just now")
        os.kill(pid, signum)
        return pid

    def wait_ready(self, name: str, *, not_pid: int = 0, timeout_s: float = 120.0) -> PartStatus:
        """Waits until a part is ready under another pid than `not_pid`, and returns its status."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            part = self.status().get(name)
            if part is not None and part.state == "ready" and part.pid != not_pid:
                return part
            time.sleep(0.05)
        raise StackError(f"{name} was not ready in {timeout_s:g} s; its log ends with:\n{self.log(name)[-3000:]}")

    def stop(self) -> None:
        control.down(self.data_dir)

    def start(self) -> None:
        """Starts the stack again on the same data."""
        self._info = control.start(self.options)


@contextlib.contextmanager
def running_stack(
    data_dir: Path,
    *,
    load: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    services: Sequence[str] = SERVICES,
    file_roots: Sequence[str] = (),
    durability: Literal["default", "fsync"] = "default",
    **more: Any,
) -> Iterator[RunningStack]:
    """Starts a stack below `data_dir`, and stops it at the end. `more` are other fields of Options."""
    more.setdefault("ready_timeout_s", 180.0)  # machines of CI are slow and busy
    stack = RunningStack(
        Options(
            data_dir=Path(data_dir) / "agentflow",
            load=load,
            env=dict(env or {}),
            services=services,
            file_roots=file_roots,
            durability=durability,
            **more,
        )
    )
    try:
        yield stack
    finally:
        stack.stop()
