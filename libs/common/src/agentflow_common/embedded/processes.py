"""Child processes that cannot outlive their parent, and the checks that tell a leftover from a stranger."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import psutil

_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _bind_to_parent(parent: int, signum: int) -> Callable[[], None] | None:
    """Makes the kernel signal this child when the thread that started it ends. The child runs it before exec.

    Use it in the main thread only: a pool's thread may end long before the process does.
    """
    if _libc is None or threading.current_thread() is not threading.main_thread():
        return None
    prctl = _libc.prctl

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and here
            os._exit(1)

    return bind


def spawn(
    args: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    output: IO[bytes] | int = subprocess.DEVNULL,
    death_signal: int = signal.SIGKILL,
    user: tuple[int, int] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a child in a session of its own (Ctrl-C reaches the parent alone) that gets `death_signal` when we die.

    user: (uid, gid) to become, without any other group; needs root.
    """
    extra: dict[str, Any] = {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of any fork beside threads
        return subprocess.Popen(  # noqa: S603 (callers pass their own binaries)
            list(args),
            env=dict(env) if env is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_bind_to_parent(os.getpid(), death_signal),  # noqa: PLW1509 (two system calls, bound before)
            cwd=cwd,
            **extra,
        )


def wait_until(check: Callable[[], bool], process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Polls until `check` holds: True; False if the process ended or the time is over."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if check():
            return True
        if process.poll() is not None:
            return check()
        time.sleep(0.01)
    return False


def stop(process: subprocess.Popen[bytes], signum: int = signal.SIGTERM, timeout_s: float = 8.0) -> int:
    """Asks the child to end, kills it after `timeout_s`, reaps it. Returns its exit code."""
    if process.poll() is None:
        process.send_signal(signum)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def started_at(pid: int) -> float | None:
    """Returns the start time of a process in seconds since the epoch. The pid and this identify it forever."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def is_running(pid: int, must_contain: str = "", start_time: float | None = None) -> bool:
    """True if `pid` lives (not as a zombie), has `must_contain` in its command line and started at `start_time`."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if start_time is not None and abs(process.create_time() - start_time) > 1.0:
            return False
        return must_contain in " ".join(process.cmdline())
    except psutil.Error:
        return False


def end_leftover(pid: int, must_contain: str, start_time: float | None, signum: int, timeout_s: float) -> bool:
    """Ends a process of an earlier life, if it is that process. Returns True if there was one."""
    if not is_running(pid, must_contain, start_time):
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.send_signal(signum)
        try:
            process.wait(timeout_s)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(timeout_s)
    return True


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def without_pg() -> dict[str, str]:
    """Returns the environment without the user's PG* variables, which would reach into our PostgreSQL."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def open_prefix(path: Path) -> None:
    """Lets other users search (not list) the folders above `path`, where they could not yet."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)
