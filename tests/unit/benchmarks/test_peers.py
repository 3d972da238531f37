"""Names, medians and ratios of the figures beside other engines; a peer that can't be had is left out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers import install
from benchmarks.peers.engines import MeasurementError
from benchmarks.peers.figures import Figure, Sample, Turn, of_ours, of_peer, sample
from benchmarks.peers.programs import protocol

RESTATE = {"versions": {"restate-server": "2"}, "durability": "WAL"}
RELAXED = {"versions": {"restate-server": "2"}, "durability": "WAL, fsync=off"}
DBOS = {"versions": {"dbos": "3"}, "durability": "PostgreSQL"}


def turn(*rates: float) -> Turn:
    """Ours, ours with fsync, theirs, theirs without; a step alone takes 1000 / rate ms."""
    return Turn(*(Sample(rate, 1000 / rate) for rate in rates))


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    found = {figure.name: figure for figure in figures}
    assert len(found) == len(figures), "a name is used twice"
    return found


def test_a_sample_is_of_medians() -> None:
    measured = sample([2.0, 1.0, 9.0], 300, [0.05, 0.5, 0.1], 50)
    assert measured.steps_per_s == 300 * 10 / 2.0
    assert measured.step_ms == pytest.approx(2.0)


def test_the_names_are_those_that_readers_look_for() -> None:
    beside, alone = [turn(4000, 2000, 1000, 1600)], [turn(4000, 2000, 250)]
    lines = by_name(
        of_ours(beside, {"beside": "restate"})
        + of_peer("restate", beside, [RESTATE, RELAXED])
        + of_peer("dbos", alone, [DBOS])
    )
    expected = {f"peers.{engine}.chain10.steps_per_s" for engine in ("agentflow", "restate", "dbos")}
    expected |= {f"peers.{engine}.sequential_step_ms" for engine in ("agentflow", "restate", "dbos")}
    expected |= {"peers.agentflow.chain10_fsync.steps_per_s", "peers.agentflow.sequential_step_fsync_ms"}
    expected |= {"peers.restate.chain10_nofsync.steps_per_s", "peers.restate.sequential_step_nofsync_ms"}
    for peer, modes in (("restate", ("", "_fsync", "_nofsync")), ("dbos", ("", "_fsync"))):
        expected |= {f"peers.ratio_to_{peer}.{what}{mode}" for what in ("chain10", "sequential_step") for mode in modes}
    assert set(lines) == expected
    assert lines["peers.restate.chain10.steps_per_s"].durability == "WAL"
    assert lines["peers.restate.chain10.steps_per_s"].more == {"versions": {"restate-server": "2"}}
    assert lines["peers.restate.chain10_nofsync.steps_per_s"].durability == "WAL, fsync=off"
    assert lines["peers.agentflow.chain10_fsync.steps_per_s"].durability == "fsync"


def test_each_ratio_is_of_the_two_modes_that_it_names() -> None:
    lines = by_name(of_peer("restate", [turn(4000, 2000, 1000, 1600)], [RESTATE, RELAXED]))
    for name, ratio, modes in (
        ("chain10", 4.0, ("default", "WAL")),
        ("chain10_fsync", 2.0, ("fsync", "WAL")),
        ("chain10_nofsync", 2.5, ("default", "WAL, fsync=off")),
    ):
        line = lines[f"peers.ratio_to_restate.{name}"]
        assert line.value == ratio
        assert (line.durability, line.more["peer_durability"]) == modes
        alone = lines[f"peers.ratio_to_restate.{name.replace('chain10', 'sequential_step')}"]
        assert alone.value == pytest.approx(ratio), "above 1 is faster here too"
    sides = lines["peers.ratio_to_restate.sequential_step_nofsync"].more
    assert (sides["ours"], sides["theirs"]) == (0.25, 0.625)


def test_a_ratio_is_of_what_was_measured_side_by_side() -> None:
    """The second turn met a machine half as fast: the ratio is the same, though the rates are not."""
    turns = [turn(4000, 1500, 1000), turn(2000, 750, 500)]
    lines = by_name(of_peer("restate", turns, [RESTATE]))
    assert lines["peers.ratio_to_restate.chain10"].value == 4.0
    assert lines["peers.ratio_to_restate.chain10_fsync"].value == 1.5
    assert lines["peers.ratio_to_restate.sequential_step"].value == pytest.approx(4.0)
    assert lines["peers.ratio_to_restate.chain10"].n == 2
    assert lines["peers.restate.chain10.steps_per_s"].value == 750


def test_ours_through_the_gateway_is_beside_the_peer_by_default() -> None:
    through = turn(4000, 2000, 1000, 1600)._replace(door=Sample(3000, 0.5), door_fsync=Sample(1500, 2.0))
    lines = by_name(of_ours([through], {}) + of_peer("restate", [through, turn(4000, 2000, 100)], [RESTATE, RELAXED]))
    assert lines["peers.agentflow.chain10_door.steps_per_s"].value == 3000
    assert lines["peers.agentflow.sequential_step_door_fsync_ms"].value == 2.0
    for name, ratio, durability in (("chain10_door", 3.0, "default"), ("chain10_door_fsync", 1.5, "fsync")):
        line = lines[f"peers.ratio_to_restate.{name}"]
        assert (line.value, line.n, line.durability, line.more["peer_durability"]) == (ratio, 1, durability, "WAL")
    assert lines["peers.ratio_to_restate.sequential_step_door"].value == pytest.approx(2.0)


class Broken:
    """A peer whose second turn fails."""

    def __init__(self) -> None:
        self.turns = 0

    def install(self) -> None:
        """Is here."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Any]:
        self.turns += 1
        if self.turns == 2:
            raise MeasurementError("it ended")
        yield Quick()


class Quick:
    about: ClassVar = {"durability": "none", "versions": {}}

    async def run(self, runs: int, _in_flight: int, _length: int) -> tuple[float, list[float]]:
        return 1.0, [0.1] * runs


async def test_a_peer_that_fails_keeps_what_it_measured_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def ours(_durability: str) -> Sample:
        return Sample(1000.0, 1.0)

    broken = Broken()
    later = Broken()
    later.turns = 2
    monkeypatch.setattr(command, "ours", ours)
    monkeypatch.setattr(command, "ours_through_door", ours)
    monkeypatch.setattr(command, "peers", lambda: {"dbos": broken, "temporal": later})
    assert await command.measure(["dbos", "temporal"], 2) == 1
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    counts = {line["name"]: line["n"] for line in lines}
    assert len(counts) == len(lines), "a name is used twice"
    assert counts["peers.dbos.chain10.steps_per_s"] == 1
    assert counts["peers.agentflow.chain10.steps_per_s"] == 1
    assert counts["peers.temporal.chain10.steps_per_s"] == 2
    assert counts["peers.ratio_to_temporal.chain10_door_fsync"] == 2
    assert "peers.ratio_to_dbos.chain10_door" not in counts, "it has no server: its client is in its process"
    assert "dbos failed in round 2: it ended" in said.err


async def test_a_peer_that_cannot_be_installed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without npm: a line that says so, no figure, success."""
    python = tmp_path / "restate" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (tmp_path / "restate" / "installed.txt").write_text("\n".join(install.PYTHON["restate"]))
    monkeypatch.setattr(install, "ENVIRONMENTS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await command.measure(["restate"], 1) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "restate is left out: it can't be installed here: there is no `npm` on PATH" in said.err


async def test_a_program_keeps_so_many_runs_in_flight() -> None:
    running = most = 0

    async def chain(length: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return length

    answer = await protocol.measure(chain, runs=20, in_flight=4, length=10)
    assert most == 4
    assert len(answer["each"]) == 20

    async def short(length: int) -> int:
        return length - 1

    with pytest.raises(RuntimeError, match="did not run all its steps"):
        await protocol.measure(short, runs=1, in_flight=1, length=10)
