"""`python -m benchmarks.peers [--only ENGINE]... [--rounds N]`"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from importlib import metadata
from subprocess import run as run_command
from typing import Any, Literal

from agentflow_common.embedded.nats import nats_binary
from benchmarks import door
from benchmarks.drive import drive
from benchmarks.output import emit, interruptible
from benchmarks.peers.engines import MeasurementError, Peer, machine, peers, without_fsync
from benchmarks.peers.figures import CHAIN, OURS, PEERS, Figure, Sample, Turn, of_ours, of_peer, sample
from benchmarks.peers.install import CannotInstallError
from benchmarks.stack import chain, engine

IN_FLIGHT = door.IN_FLIGHT
SERVED = ("restate", "temporal")  # reached through a server of its own, as ours is through the gateway
BATCHES = 3
RUNS = {
    OURS: 300,
    "restate": 300,
    "langgraph": 150,
    "dbos": 100,
    "temporal": 60,
}  # so that a batch takes seconds on each
ALONE_LENGTH = 50
ALONE_RUNS = 10
ROUNDS = 2
About = dict[str, Any]


async def ours(durability: Literal["default", "fsync"]) -> Sample:
    """Measures a turn of ours: a fresh log, one scheduler, one worker."""
    short, long = chain(CHAIN), chain(ALONE_LENGTH)
    async with engine(durability) as stack:
        await drive(stack, short, RUNS[OURS], IN_FLIGHT)
        await drive(stack, long)
        batches = [await drive(stack, short, RUNS[OURS], IN_FLIGHT) for _ in range(BATCHES)]
        alone = [await drive(stack, long) for _ in range(ALONE_RUNS)]
    return _said(f"{OURS} {durability}", sample(batches, RUNS[OURS], alone, ALONE_LENGTH))


async def ours_through_door(durability: Literal["default", "fsync"]) -> Sample:
    """Measures a turn of ours as a user reaches it: the whole stack, the SDK, SubmitWorkflow and WaitRun."""
    async with door.stack(durability) as stack:
        await stack.client.workflows.register(chain(ALONE_LENGTH) | {"name": "long"})

        async def alone() -> float:
            began = time.perf_counter()
            await door.completed(stack.client, "long")
            return time.perf_counter() - began

        await door.timed(stack.client, door.completed, RUNS[OURS])
        await alone()
        batches = [await door.timed(stack.client, door.completed, RUNS[OURS]) for _ in range(BATCHES)]
        lone = [await alone() for _ in range(ALONE_RUNS)]
    return _said(f"{OURS} {durability}, through the gateway", sample(batches, RUNS[OURS], lone, ALONE_LENGTH))


async def theirs(name: str, peer: Peer) -> tuple[Sample, About]:
    """Measures a turn of a peer on fresh data. Returns the sample and the peer's description."""
    async with peer.running() as program:
        await program.run(RUNS[name], IN_FLIGHT, CHAIN)
        await program.run(1, 1, ALONE_LENGTH)
        batches = [(await program.run(RUNS[name], IN_FLIGHT, CHAIN))[0] for _ in range(BATCHES)]
        _, alone = await program.run(ALONE_RUNS, 1, ALONE_LENGTH)
    label = f"{name}, {program.about['durability']}"
    return _said(label, sample(batches, RUNS[name], alone, ALONE_LENGTH)), program.about | shape()


async def turn(number: int, name: str, modes: Sequence[Peer]) -> tuple[Turn, list[About]]:
    """Measures ours and a peer one after the other. Every other turn has the opposite order.

    That way a drift of the machine favours neither. modes: the peer by default and, if it has such
    a mode, without fsync.
    """
    parts: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
        ("ours", lambda: ours("default")),
        ("fsync", lambda: ours("fsync")),
    ]
    if name in SERVED:
        parts += [
            ("door", lambda: ours_through_door("default")),
            ("door_fsync", lambda: ours_through_door("fsync")),
        ]
    parts += [
        (kind, functools.partial(theirs, name, mode)) for kind, mode in zip(("theirs", "nofsync"), modes, strict=False)
    ]
    samples: dict[str, Sample] = {}
    about: dict[str, About] = {}
    for kind, measured in reversed(parts) if number % 2 else parts:
        found = await measured()
        if kind in ("theirs", "nofsync"):
            found, about[kind] = found
        samples[kind] = found
    return Turn(**samples), [about[kind] for kind in ("theirs", "nofsync") if kind in about]


async def turns_of(name: str, modes: Sequence[Peer], rounds: int) -> tuple[list[Turn], list[About], bool]:
    """Returns the measured turns, the descriptions, and True if no turn failed."""
    turns: list[Turn] = []
    about: list[About] = []
    for number in range(rounds):
        print(f"{name} round {number + 1}/{rounds}", file=sys.stderr)
        try:
            found, about = await turn(number, name, modes)
        except Exception as error:
            if not isinstance(error, MeasurementError):
                traceback.print_exc()
            print(f"{name} failed in round {number + 1}: {error}", file=sys.stderr)
            return turns, about, False
        turns.append(found)
    return turns, about, True


async def measure(names: Sequence[str], rounds: int) -> int:
    """Measures the peers. Returns 1 if an installed engine could not be measured, else 0.

    A peer's lines are printed before the next one begins.
    """
    good, told = True, False
    for name, peer in peers().items():
        if name not in names:
            continue
        began = time.monotonic()
        try:
            peer.install()
        except CannotInstallError as error:
            print(f"{name} is left out: it can't be installed here: {error}", file=sys.stderr)
            continue
        modes = [peer, *([other] if (other := without_fsync().get(name)) else [])]
        turns, about, whole = await turns_of(name, modes, rounds)
        good &= whole
        if turns:
            if not told:
                _emit(of_ours(turns, {"versions": versions(), "beside": name, **shape()}))
                told = True
            _emit(of_peer(name, turns, about))
        print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0 if good else 1


def shape() -> About:
    return {"in_flight": IN_FLIGHT, "sequential_chain": ALONE_LENGTH, **machine()}


def versions() -> dict[str, str]:
    said = run_command([nats_binary(), "--version"], check=True, capture_output=True, text=True).stdout
    return {"agentflow": metadata.version("agentflow-common"), "nats-server": said.split()[-1].lstrip("v")}


def _emit(figures: Sequence[Figure]) -> None:
    for figure in figures:
        emit(figure.name, figure.value, figure.unit, figure.n, figure.durability, **figure.more)


def _said(label: str, result: Sample) -> Sample:
    print(f"{label}: {result.steps_per_s:,.0f} steps/s, {result.step_ms:.2f} ms a step alone", file=sys.stderr)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--only", choices=PEERS, action="append", help="a peer; repeat the option for several (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each peer (%(default)s)")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return asyncio.run(measure(options.only or PEERS, options.rounds))


if __name__ == "__main__":
    sys.exit(interruptible(main))
