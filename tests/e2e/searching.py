"""Looks for values everywhere the platform could have put them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import nats
from nats.js.errors import NotFoundError

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import EventLog


def spellings(value: str) -> set[bytes]:
    """A value as it stands, without its separators, and as JSON writes it."""
    bare = re.sub(r"[\s()-]", "", value)
    found = {value, value.replace("/", "\\/")}
    if sum(c.isdigit() for c in bare) >= 9:  # a shorter run of digits may stand anywhere by chance
        found.add(bare)
    return {spelling.encode() for spelling in found}


def needles(values: Iterable[str]) -> dict[bytes, str]:
    return {spelling: value for value in values for spelling in spellings(value)}


def found_in(data: bytes, wanted: dict[bytes, str]) -> set[str]:
    return {value for spelling, value in wanted.items() if spelling in data}


async def every_message(url: str) -> list[tuple[str, int, str, bytes]]:
    """All messages of all streams, object stores and key-value buckets among them: stream, sequence, subject, data."""
    nc = await nats.connect(url)
    out = []
    try:
        jsm = nc.jsm()
        for info in await jsm.streams_info():
            name = str(info.config.name)
            for seq in range(max(1, info.state.first_seq), info.state.last_seq + 1):
                try:
                    message = await jsm.get_msg(name, seq)
                except NotFoundError:
                    continue  # a key that was written over
                headers = str(message.headers or {}).encode()
                out.append((name, seq, message.subject or "", (message.data or b"") + headers))
    finally:
        await nc.close()
    return out


def files_holding(folder: Path, wanted: dict[bytes, str]) -> dict[str, set[str]]:
    """File -> the values that it holds, for every file below the folder."""
    out = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            try:
                hits = found_in(path.read_bytes(), wanted)
            except FileNotFoundError:
                continue  # a temporary file that is gone again
            if hits:
                out[str(path.relative_to(folder))] = hits
    return out


async def submissions(url: str) -> int:
    """How many runs were ever submitted."""
    nc = await nats.connect(url)
    try:
        log = EventLog(nc)
        await log.start()
        return sum(
            isinstance(ev.try_decode(stored.data), ev.RunSubmitted) for stored in await log.read(subjects.ALL_INS)
        )
    finally:
        await nc.close()
