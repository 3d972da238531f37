"""The embedded stack's log files as lines: JSON of the services and the supervisor, text of NATS and PostgreSQL.

`read_line` is pure; `Follower` reads what files have grown by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_OWN: Final = ("ts", "level", "service", "logger", "message")
_NATS: Final = re.compile(r"\[\d+\] (\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d+) \[(\w{3})\] (.*)")
_NATS_LEVELS: Final = {
    "TRC": "debug",
    "DBG": "debug",
    "INF": "info",
    "WRN": "warning",
    "ERR": "error",
    "FTL": "critical",
}
_POSTGRES: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) (\S+) \[\d+\] (\w+):\s+(.*)")
_POSTGRES_LEVELS: Final = {"WARNING": "warning", "ERROR": "error", "FATAL": "error", "PANIC": "critical"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log. ts_ms: since the epoch, 0 if the line has no time. fields: what JSON holds besides."""

    part: str
    ts_ms: int
    level: str
    message: str
    logger: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "part": self.part, "ts_ms": self.ts_ms, "level": self.level, "logger": self.logger,
            "message": self.message, **self.fields,
        }  # fmt: skip


def read_line(part: str, text: str) -> Line:
    """Returns a line of any of the parts. What has no known form is a message without a time, of level info."""
    if text.startswith("{"):
        try:
            body = json.loads(text)
            ts_ms = _ms(datetime.fromisoformat(body["ts"]))
            others = {key: value for key, value in body.items() if key not in _OWN}
            return Line(part, ts_ms, str(body["level"]), str(body["message"]), str(body.get("logger", "")), others)
        except (ValueError, KeyError, TypeError):
            return Line(part, 0, "info", text)
    if match := _NATS.match(text):
        at = datetime.strptime(match[1], "%Y/%m/%d %H:%M:%S.%f").astimezone()  # the server writes local time
        return Line(part, _ms(at), _NATS_LEVELS.get(match[2], "info"), match[3])
    if match := _POSTGRES.match(text):
        at = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
        ts_ms = _ms(at) if match[2] in ("UTC", "GMT") else _ms(at.replace(tzinfo=None).astimezone())
        return Line(part, ts_ms, _POSTGRES_LEVELS.get(match[3], "info"), f"{match[3]}: {match[4]}")
    return Line(part, 0, "info", text)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def lines_of(part: str, text: str, after_ms: int = 0) -> list[Line]:
    """Returns a log's lines. A line without a time belongs to the moment of the line before it.

    after_ms: the time of the last line before this text.
    """
    found = []
    for raw in text.splitlines():
        if not raw.strip():
            continue
        line = read_line(part, raw)
        after_ms = line.ts_ms or after_ms
        found.append(line if line.ts_ms else Line(part, after_ms, line.level, line.message))
    return found


def chosen(lines: Iterable[Line], *, since_ms: int = 0, level: str = "") -> list[Line]:
    """Returns the lines since a time and from a level on, by time; lines of one part keep their order."""
    least = LEVELS.index(level) if level else 0
    rank = {name: number for number, name in enumerate(LEVELS)}
    kept = [line for line in lines if line.ts_ms >= since_ms and rank.get(line.level, 1) >= least]
    return sorted(kept, key=lambda line: line.ts_ms)


class Follower:
    """Reads each file from where it stopped; a file that was cut or replaced is read from its start."""

    def __init__(self, folder: Path, parts: Sequence[str]) -> None:
        self._folder = folder
        self._parts = parts
        self._places: dict[str, int] = {}
        self._rest: dict[str, bytes] = {}
        self._last_ms: dict[str, int] = {}

    def read(self) -> list[Line]:
        """Returns the whole lines that are new since the last call."""
        found: list[Line] = []
        for part in self._parts or sorted(path.stem for path in self._folder.glob("*.log")):
            try:
                with (self._folder / f"{part}.log").open("rb") as file:
                    found += self._new(part, file)
            except FileNotFoundError:  # the part has not started yet
                continue
        return found

    def _new(self, part: str, file: BinaryIO) -> list[Line]:
        place = self._places.get(part, 0)
        size = file.seek(0, 2)
        if size < place:
            place = 0
            self._rest.pop(part, None)
        file.seek(place)
        data = self._rest.pop(part, b"") + file.read()
        self._places[part] = file.tell()
        whole, _, rest = data.rpartition(b"\n")
        if rest:
            self._rest[part] = rest
        lines = lines_of(part, whole.decode("utf-8", "replace"), self._last_ms.get(part, 0))
        if lines:
            self._last_ms[part] = lines[-1].ts_ms
        return lines
