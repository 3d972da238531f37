"""Starts and stops the stack, and reports its status: `up`, `down`, `status`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import psutil

from agentctl.stack import dotenv_file, observability
from agentctl.stack import layout as files
from agentctl.stack.choices import Environment, differences, edited, remembered
from agentctl.stack.layout import Layout, Lock, Options, PartStatus, StackInfo, State
from agentctl.stack.supervisor import AlreadyRunningError, Supervisor, end_leftovers
from agentflow_common.embedded import postgres, processes
from agentflow_common.embedded.monitors import GrafanaServer, PrometheusServer, answers
from agentflow_common.embedded.servers import StackError

DOWN_S_MAX: Final = 40.0
PROBE_S_MAX: Final = 2.0


def find(data_dir: Path | str) -> StackInfo | None:
    """Returns the running, ready stack of a data dir, or None."""
    layout = Layout(data_dir)
    info = files.read(layout.stack_json, StackInfo)
    return info if info is not None and processes.is_running(info.pid) and Lock(layout.lock).held() else None


def start(options: Options) -> StackInfo:
    """Starts a stack that outlives this process, and returns when it is ready. Raises StackError with the reason."""
    layout = Layout(options.data_dir)
    running = find(layout.root)
    if running is not None:
        return running
    try:
        layout.make()
    except OSError as error:
        raise StackError(f"the data dir {layout.root} cannot be used: {error.strerror}; choose another") from error
    log_file = layout.log("supervisor")
    files.rotate(log_file)
    with log_file.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "agentctl.stack", msgspec.json.encode(files.plain(options)).decode()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **options.env},
        )
    try:
        return _started(options, layout, child, log_file)
    except KeyboardInterrupt:  # no one waits for it any more
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        child.wait()
        raise


def _started(options: Options, layout: Layout, child: subprocess.Popen[bytes], log_file: Path) -> StackInfo:
    """Returns the stack when it is ready. Raises StackError with the reason, and ends a child that is late."""
    deadline = time.monotonic() + options.ready_timeout_s + 10.0
    while time.monotonic() < deadline:
        info = find(layout.root)
        if info is not None:
            child.returncode = 0  # it goes on without us: no ResourceWarning, no zombie handling
            return info
        if child.poll() is not None and not Lock(layout.lock).held():
            state = files.read(layout.state_json, State)
            why = state.error if state is not None and state.phase == "failed" else files.tail(log_file)
            raise StackError(f"the stack did not start: {why}")
        time.sleep(0.03)
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    raise StackError(f"the stack was not ready in {options.ready_timeout_s:g} s; see the logs in {layout.logs}")


def serve(options: Options, ready: Callable[[StackInfo, dict[str, float]], None]) -> None:
    """Runs the stack in this process until SIGTERM or SIGINT. Raises StackError, AlreadyRunningError.

    Raises KeyboardInterrupt if a second SIGINT forced the stop.
    """

    async def body() -> bool:
        supervisor = Supervisor(options)
        await supervisor.run(lambda info: ready(info, supervisor.timings))
        return supervisor.forced

    if asyncio.run(body()):
        raise KeyboardInterrupt


def up(options: Options, given: frozenset[str] = frozenset(), *, restart: bool = False) -> int:
    """Starts the stack, prints its addresses and returns the exit code. Unless detached, it runs the stack too.

    given: the options that were named. The others keep the value of the last start. If a stack runs with other
    settings, the start is refused with what to do. restart: a stack that runs is restarted, whatever its settings.
    """
    from agentctl.stack.show import endpoints, failure, note, timings

    try:
        beside = dotenv_file.beside(options.data_dir, os.environ)
    except StackError as error:
        failure(str(error))
        return 1
    if other := dotenv_file.not_read(options.data_dir, Path.cwd()):
        note(f"{other} is not read: the stack of this data dir reads {dotenv_file.path_of(options.data_dir)}")
    options = msgspec.structs.replace(options, env={**beside, **options.env})
    running = find(options.data_dir)
    if running is not None and not restart:
        return _already_runs(running, options, given)
    try:
        options = observability.where_possible(remembered(options, given), given)
        if running is not None:
            down(options.data_dir)
        if options.detach:
            endpoints(start(options), "ready")
        else:
            logging.basicConfig(level=logging.WARNING, format="%(message)s")

            def ready(info: StackInfo, times: dict[str, float]) -> None:
                endpoints(info, "ready")
                if options.verbose:
                    timings(times)

            serve(options, ready)
    except AlreadyRunningError:
        return _already_runs(start(options), options, given)  # another command was faster
    except StackError as error:
        failure(str(error))
        return 1
    return 0


def _differences(running: StackInfo, options: Options, given: frozenset[str]) -> list[str]:
    layout = Layout(options.data_dir)
    try:
        has = files.options_of(layout.options_json.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return []
    then = files.read(layout.environment_json, Environment)
    found = differences(running, has, then, options, given, {**os.environ, **options.env})
    return found + (edited(has, running.started_at) if "load" in given else [])


def _already_runs(running: StackInfo, options: Options, given: frozenset[str]) -> int:
    """Prints the addresses of a running stack, or the settings that differ. Returns the exit code."""
    from agentctl.stack.show import endpoints, failure

    different = _differences(running, options, given)
    if not different:
        endpoints(running, "already running")
        return 0
    lines = "\n".join(f"  {line}" for line in different)
    failure(
        f"the stack in {running.data_dir} already runs, with other settings than asked for:\n{lines}\n"
        "restart it with these: the same command with --restart (runs go on where they were)"
    )
    return 1


def down(data_dir: Path | str) -> bool:
    """Stops the stack and waits. Ends what a killed supervisor left, too. Returns False if nothing ran."""
    layout = Layout(data_dir)
    if not layout.root.is_dir():
        return False
    state = files.read(layout.state_json, State)
    lock = Lock(layout.lock)
    if not lock.held() or state is None:
        return bool(end_leftovers(layout))
    if processes.is_running(state.pid, "", state.start_time):
        os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_S_MAX
    while lock.held():
        if time.monotonic() > deadline:
            if processes.is_running(state.pid, "", state.start_time):
                os.kill(state.pid, signal.SIGKILL)
            end_leftovers(layout)
            break
        time.sleep(0.03)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(state.pid, os.WNOHANG)  # if it was this process that started it
    return True


def status(data_dir: Path | str) -> list[PartStatus]:
    """Returns every part with its health. All are asked at the same time, each for at most 2 s."""
    layout = Layout(data_dir)
    state = files.read(layout.state_json, State)
    if state is None:
        return []
    alive = layout.root.is_dir() and Lock(layout.lock).held()
    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(lambda item: _part(layout, item[0], item[1], alive), state.parts.items()))


def _part(layout: Layout, name: str, part: files.Part, supervised: bool) -> PartStatus:
    result = PartStatus(name=name, state="stopped", restarts=part.restarts, detail=part.detail)
    try:
        process = psutil.Process(part.pid)
        if not part.running or not processes.is_running(part.pid, part.match, part.start_time):
            raise psutil.NoSuchProcess(part.pid)
        result.pid = part.pid
        result.uptime_s = round(time.time() - process.create_time(), 1)
        result.rss_bytes = process.memory_info().rss + sum(
            child.memory_info().rss for child in process.children(recursive=True)
        )
    except psutil.Error:
        result.state = "restarting" if supervised else "stopped"
        return result
    if name == files.NATS:
        ports = files.read(layout.ports_json, files.Ports)
        result.port = ports.nats if ports is not None else 0
        result.state = "ready" if _nats_answers(result.port) else "starting"
    elif name == files.POSTGRES:
        info = files.read(layout.stack_json, StackInfo)
        result.state = "ready" if postgres.is_ready(layout.postgres, part.pid) else "starting"
        result.detail = result.detail or (f"socket in {info.postgres['DB_HOST']}" if info is not None else "")
    elif name in (files.PROMETHEUS, files.GRAFANA):
        info = files.read(layout.stack_json, StackInfo)
        url = info.monitors.get(name, "") if info is not None else ""
        result.port = int(url.rsplit(":", 1)[1]) if url else 0
        path = PrometheusServer.ready_path if name == files.PROMETHEUS else GrafanaServer.ready_path
        result.state = "ready" if url and answers(url + path) else "starting"
        result.detail = result.detail or url
    else:
        from agentctl.stack.parts import Announcement

        announced = files.read(layout.announcement(name), Announcement)
        if announced is None or announced.pid != part.pid:
            result.state = "starting"
            return result
        result.port = announced.ports.get("grpc", announced.ports.get("http", 0))
        healthy, detail = _readyz(announced.ports.get("http", 0))
        result.state = "ready" if healthy else "not ready"
        result.detail = detail or result.detail
    return result


def _readyz(port: int) -> tuple[bool, str]:
    """Returns (True if the service is ready, the parts that are not)."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PROBE_S_MAX):
            return True, ""
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
        try:
            parts = msgspec.json.decode(body).get("parts", {})
            return False, "; ".join(f"{name}: {why}" for name, why in parts.items() if why != "ok") or "not ready"
        except (msgspec.MsgspecError, AttributeError):
            return False, f"HTTP {error.code}"
    except OSError as error:
        return False, f"/readyz does not answer: {error}"


def _nats_answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PROBE_S_MAX) as connection:
            return connection.recv(5).startswith(b"INFO")
    except OSError:
        return False
