"""Services as processes that are killed while runs go on, and what the log then says of these runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, subjects
from agentflow_common.events import Payload
from agentflow_common.log.event_log import Entry, EventLog, Fence, Stored
from agentflow_common.runs.fold import RunFold
from agentflow_common.runs.state import RunState
from tests.support.attempts import begun_by
from tests.support.waiting import PATIENCE_S, until

DRIVE_S_MAX = 300.0  # the tests take seconds; machines of CI are slow and busy


class Processes:
    """`python -m agentflow_<service>` for each of the names ("scheduler", or "scheduler-1" of several). One that is
    killed is started again at once, as the supervisor does. died: pid -> when it was killed, monotonic ns."""

    def __init__(self, folder: Path, names: Sequence[str], url: str, **env: object) -> None:
        self.folder = folder
        self.names = tuple(names)
        self.died: dict[int, int] = {}
        self._env = {**os.environ, "NATS_URL": url, "LOG_LEVEL": "WARNING", **{k: str(v) for k, v in env.items()}}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        for name in self.names:
            self.start(name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for task in self._stopped:
            task.cancel()
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(PATIENCE_S)
            finally:
                process.kill()

    def start(self, name: str) -> None:
        run_dir = self.folder / name
        for announced in run_dir.glob("*.json"):
            announced.unlink()
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"agentflow_{name.partition('-')[0]}"],
                env={**self._env, "AGENTFLOW_RUN_DIR": str(run_dir)},
                stdout=log,
                stderr=log,
            )

    def kill(self, name: str, *, again: bool = True) -> None:
        """kill -9."""
        process = self._processes[name]
        process.kill()
        process.wait()
        self.died[process.pid] = time.monotonic_ns()
        if again:
            self.start(name)

    def stop_for(self, name: str, seconds: float) -> None:
        """Nothing of it runs for so long; others may take it for lost."""
        process = self._processes[name]
        process.send_signal(signal.SIGSTOP)

        async def go_on() -> None:
            try:
                await asyncio.sleep(seconds)
            finally:
                process.send_signal(signal.SIGCONT)

        task = asyncio.create_task(go_on())
        self._stopped.add(task)
        task.add_done_callback(self._stopped.discard)

    def check(self) -> None:
        """A service that ends by itself is a bug of its own."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise AssertionError(f"{name} ended with {process.returncode}: {self._log(name).read_text()[-3000:]}")

    async def ports(self, name: str) -> Mapping[str, int]:
        """What a service has announced, once it is ready."""

        def announced() -> list[Path]:
            self.check()
            return list((self.folder / name).glob("*.json"))

        (file,) = await until(announced, what=f"{name} is not ready")
        found: Mapping[str, int] = msgspec.json.decode(file.read_bytes())["ports"]
        return found

    async def ready(self) -> None:
        for name in self.names:
            await self.ports(name)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def lane_processes(folder: Path, url: str, *, concurrency: int = 100, snapshot_every: int = 200) -> Processes:
    """A scheduler and a worker with the steps of lane_steps.py, which note in `notes` how long they have run."""
    (folder / "notes").mkdir()
    return Processes(
        folder,
        ("scheduler", "worker"),
        url,
        LANES_FOLDER=folder / "notes",
        WORKER_LOAD=Path(__file__).with_name("lane_steps.py"),
        WORKER_CONCURRENCY=concurrency,
        AGENTFLOW_ACK_WAIT_S=2,
        SCHEDULER_SNAPSHOT_EVERY=snapshot_every,
    )


async def submit(log: EventLog, definition: dict[str, Any], inputs: dict[str, Any] | None = None) -> str:
    run = ids.new_run_id()
    event = ev.RunSubmitted(
        org="test", run=run, ts=1, workflow=definition["name"], version=1, definition=definition,
        inputs=Payload(value=inputs or {}),
    )  # fmt: skip
    await log.append(Entry(subjects.run_in(subjects.key_of("test", run)), ev.encode(event), fence=Fence(0)))
    return run


async def drive(
    log: EventLog, processes: Processes, runs: set[str], steps: int, strikes: Sequence[Callable[[], None]]
) -> dict[int, bytes]:
    """Until all runs have completed. steps: that they have together; a strike falls each time that as many more are
    done. What was read on the way: sequence -> data."""
    tail = log.tail([subjects.ALL_INS, subjects.ALL_RUN_DECISIONS])
    moments = {steps * (number + 1) // (len(strikes) + 1): strike for number, strike in enumerate(strikes)}
    assert len(moments) == len(strikes)
    waiting, done, seen = set(runs), 0, dict[int, bytes]()
    async with asyncio.timeout(DRIVE_S_MAX):
        while waiting:
            processes.check()
            for delivery in await tail.batch(1.0):
                seen[delivery.seq] = delivery.data
                event = ev.decode(delivery.data)
                if isinstance(event, ev.StepCompleted):
                    for _ in event.reports():
                        done += 1
                        if done in moments:
                            moments.pop(done)()
                elif isinstance(event, ev.TERMINAL_RUN):
                    assert isinstance(event, ev.RunCompleted), event
                    waiting.discard(event.run)
    assert not moments, "every strike fell while there was work"
    await tail.stop()
    return seen


class Told:
    """What a log says of its runs. states: what each folds to. offers, reports: how often each (run, step, attempt) was
    given to a worker, and told to be over."""

    def __init__(self, stored: Sequence[Stored]) -> None:
        folds: dict[str, RunFold] = {}
        self.stored = stored
        self.events = [ev.decode(item.data) for item in stored]
        self.offers: Counter[tuple[str, str, int]] = Counter()
        self.reports: Counter[tuple[str, str, int]] = Counter()
        for item, event in zip(stored, self.events, strict=True):
            folds.setdefault(event.run, RunFold()).add(event, item.seq)
            self.offers.update((event.run, step, attempt) for step, attempt in begun_by(event))
            for report in ev.single(event):
                if isinstance(report, ev.StepCompleted | ev.StepFailed):
                    self.reports[report.run, report.step, report.attempt] += 1
        self.states: dict[str, RunState] = {}
        for run, fold in folds.items():
            state = fold.finish()
            assert state is not None
            self.states[run] = state
        assert max(self.offers.values()) == 1, "an attempt was offered twice"
        assert max(self.reports.values()) == 1, "an attempt was reported twice"
        assert set(self.reports) <= set(self.offers)

    @classmethod
    async def by(cls, log: EventLog) -> Self:
        return cls(await log.read(subjects.ALL_EVENTS))
