"""Names, medians and ratios of the figures beside other engines; a peer that can't be had is left out."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers import install
from benchmarks.peers.figures import Figure, Sample, Turn, report, sample
from benchmarks.peers.programs import protocol

ABOUT = {
    "agentflow": {"versions": {"agentflow": "1"}},
    "restate": {"versions": {"restate-server": "2"}, "durability": "WAL"},
    "dbos": {"versions": {"dbos": "3"}, "durability": "PostgreSQL"},
}


def turn(peer: str, ours: float, fsync: float, theirs: float) -> Turn:
    """Of rates; a step alone takes 1000 / rate ms."""
    return Turn(peer, *(Sample(rate, 1000 / rate) for rate in (ours, fsync, theirs)))


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    found = {figure.name: figure for figure in figures}
    assert len(found) == len(figures), "a name is used twice"
    return found


def test_a_sample_is_of_medians() -> None:
    measured = sample([2.0, 1.0, 9.0], 300, [0.05, 0.5, 0.1], 50)
    assert measured.steps_per_s == 300 * 10 / 2.0
    assert measured.step_ms == pytest.approx(2.0)


def test_the_names_are_those_that_readers_look_for() -> None:
    lines = by_name(report([turn("restate", 4000, 2000, 1000), turn("dbos", 4000, 2000, 250)], ABOUT))
    expected = {f"peers.{engine}.chain10.steps_per_s" for engine in ("agentflow", "restate", "dbos")}
    expected |= {f"peers.{engine}.sequential_step_ms" for engine in ("agentflow", "restate", "dbos")}
    expected |= {"peers.agentflow.chain10_fsync.steps_per_s", "peers.agentflow.sequential_step_fsync_ms"}
    for peer in ("restate", "dbos"):
        expected |= {f"peers.ratio_to_{peer}.{what}" for what in ("chain10", "chain10_fsync")}
        expected |= {f"peers.ratio_to_{peer}.{what}" for what in ("sequential_step", "sequential_step_fsync")}
    assert set(lines) == expected
    assert lines["peers.restate.chain10.steps_per_s"].durability == "WAL"
    assert lines["peers.restate.chain10.steps_per_s"].more["versions"] == {"restate-server": "2"}
    assert lines["peers.agentflow.chain10_fsync.steps_per_s"].durability == "fsync"


def test_a_ratio_is_of_what_was_measured_side_by_side() -> None:
    """The second turn met a machine half as fast: the ratio is the same, though the rates are not."""
    turns = [turn("restate", 4000, 1500, 1000), turn("dbos", 8000, 1500, 100), turn("restate", 2000, 750, 500)]
    lines = by_name(report(turns, ABOUT))
    assert lines["peers.ratio_to_restate.chain10"].value == 4.0
    assert lines["peers.ratio_to_restate.chain10_fsync"].value == 1.5
    assert lines["peers.ratio_to_restate.sequential_step"].value == pytest.approx(4.0), "above 1 is faster here too"
    assert lines["peers.ratio_to_restate.chain10"].n == 2
    assert lines["peers.ratio_to_restate.chain10"].more["peer_durability"] == "WAL"
    assert lines["peers.agentflow.chain10.steps_per_s"].n == 3
    assert lines["peers.agentflow.chain10.steps_per_s"].value == 4000


def test_nothing_measured_gives_no_figure() -> None:
    assert report([], ABOUT) == []


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
