"""`python -m benchmarks.peers [--only ENGINE]... [--rounds N]`"""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib import metadata
from subprocess import run as run_command
from typing import Any, Literal

from agentflow_common.embedded import nats_binary
from benchmarks.drive import drive
from benchmarks.output import emit
from benchmarks.peers.engines import MeasurementError, Peer, machine, peers
from benchmarks.peers.figures import CHAIN, OURS, PEERS, Sample, Turn, report, sample
from benchmarks.peers.install import CannotInstallError
from benchmarks.stack import chain, engine

IN_FLIGHT = 50
BATCHES = 3
RUNS = {OURS: 300, "restate": 300, "langgraph": 150, "dbos": 100, "temporal": 60}  # a batch takes seconds on any
ALONE_LENGTH = 50
ALONE_RUNS = 10
WARM_RUNS = 50
ROUNDS = 2


async def ours(durability: Literal["default", "fsync"]) -> Sample:
    """A turn of ours: a fresh log, one scheduler, one worker."""
    short, long = chain(CHAIN), chain(ALONE_LENGTH)
    async with engine(durability) as stack:
        await drive(stack, short, WARM_RUNS, IN_FLIGHT)
        await drive(stack, long)
        batches = [await drive(stack, short, RUNS[OURS], IN_FLIGHT) for _ in range(BATCHES)]
        alone = [await drive(stack, long) for _ in range(ALONE_RUNS)]
    return _said(f"{OURS} {durability}", sample(batches, RUNS[OURS], alone, ALONE_LENGTH))


async def theirs(name: str, peer: Peer, about: dict[str, dict[str, Any]]) -> Sample:
    """A turn of a peer, on fresh data."""
    async with peer.running() as program:
        about[name] = program.about | shape()
        await program.run(WARM_RUNS, IN_FLIGHT, CHAIN)
        await program.run(1, 1, ALONE_LENGTH)
        batches = [(await program.run(RUNS[name], IN_FLIGHT, CHAIN))[0] for _ in range(BATCHES)]
        _, alone = await program.run(ALONE_RUNS, 1, ALONE_LENGTH)
    return _said(name, sample(batches, RUNS[name], alone, ALONE_LENGTH))


async def turn(number: int, name: str, peer: Peer, about: dict[str, dict[str, Any]]) -> Turn:
    """Both side by side; every other time the other way round, so that a drift of the machine favours none."""
    if number % 2:
        their = await theirs(name, peer, about)
        synced = await ours("fsync")
        return Turn(name, await ours("default"), synced, their)
    our = await ours("default")
    synced = await ours("fsync")
    return Turn(name, our, synced, await theirs(name, peer, about))


def installed(names: list[str]) -> dict[str, Peer]:
    """The peers that can be had here; of each other one a line on stderr says why not."""
    found = {}
    for name, peer in peers().items():
        if name not in names:
            continue
        try:
            peer.install()
        except CannotInstallError as error:
            print(f"{name} is left out: it can't be installed here: {error}", file=sys.stderr)
        else:
            found[name] = peer
    return found


async def measure(names: list[str], rounds: int) -> int:
    """0, or 1 if an engine that is installed could not be measured."""
    found = installed(names)
    about: dict[str, dict[str, Any]] = {OURS: {"versions": versions(), **shape()}}
    turns: list[Turn] = []
    failed = set()
    for number in range(rounds):
        for name, peer in found.items():
            if name in failed:
                continue
            print(f"round {number + 1}/{rounds}: {OURS} and {name}", file=sys.stderr)
            try:
                turns.append(await turn(number, name, peer, about))
            except MeasurementError as error:
                failed.add(name)
                print(f"{name} is left out: {error}", file=sys.stderr)
    for figure in report([each for each in turns if each.peer not in failed], about):
        emit(figure.name, figure.value, figure.unit, figure.n, figure.durability, **figure.more)
    return 1 if failed else 0


def shape() -> dict[str, Any]:
    return {"in_flight": IN_FLIGHT, "sequential_chain": ALONE_LENGTH, **machine()}


def versions() -> dict[str, str]:
    said = run_command([nats_binary(), "--version"], check=True, capture_output=True, text=True).stdout
    return {"agentflow": metadata.version("agentflow-common"), "nats-server": said.split()[-1].lstrip("v")}


def _said(label: str, result: Sample) -> Sample:
    print(f"{label}: {result.steps_per_s:,.0f} steps/s, {result.step_ms:.2f} ms a step alone", file=sys.stderr)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--only", choices=PEERS, action="append", help="a peer; several if given again (default: all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each peer (%(default)s)")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return asyncio.run(measure(options.only or list(PEERS), options.rounds))


if __name__ == "__main__":
    sys.exit(main())
