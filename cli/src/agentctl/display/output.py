"""Output: only data goes to stdout, and progress and messages go to stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from agentctl.failures import lines_of

if TYPE_CHECKING:
    from rich.console import Console

_TRAILING: Final = re.compile(r"[ \t]+$", re.M)
ID_COLUMNS: Final = frozenset({"RUN", "ID", "SEQUENCE", "SEQ"})
PIPE_COLUMNS: Final = 200  # a pipe has no width; narrow tables would cut what a script wants


T = TypeVar("T")
Columns = Mapping[str, Callable[[T], Any]]  # what each column shows of an item, by its header


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]


class _Trimmed:
    """Standard output without the blanks with which tables fill their last column."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        sys.stdout.write(_TRAILING.sub("", text))
        return len(text)

    def flush(self) -> None:
        sys.stdout.flush()


def stdout() -> Console:
    """Returns a console for data."""
    from rich.console import Console

    options: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    if sys.stdout.isatty():
        return Console(**options)
    return Console(file=_Trimmed(), width=PIPE_COLUMNS, **options)  # type: ignore[arg-type]


def stderr() -> Console:
    """Returns a console for progress."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    return console


def done(plain: Any, output: Format) -> None:
    """Prints the changes of a command for scripts. A person reads the note."""
    if output is not Format.TABLE:
        emit(plain, output, str)


def note(message: str) -> None:
    """Prints a message for the person at the terminal."""
    sys.stderr.write(message + "\n")


def report(error: BaseException, source: str = "", options: Container[str] = ()) -> None:
    """Prints an error. source: the file that places in it belong to. options: those of the command."""
    first, *rest = lines_of(error, source, options)
    label = "\x1b[1;31merror:\x1b[0m" if sys.stderr.isatty() else "error:"
    note("\n".join([f"{label} {clean(first)}", *(clean(line) for line in rest)]))


def clean(text: str) -> str:
    """Returns a text whose control characters can't steer the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def emit(data: Any, output: Format, render: Callable[[], Any]) -> None:
    """Prints plain data as JSON or YAML, or what `render` returns for people (None: it has printed)."""
    if output is Format.JSON:
        sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")
    elif output is Format.YAML:
        import yaml

        sys.stdout.write(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=PIPE_COLUMNS))
    else:
        made = render()
        if made is not None:
            stdout().print(made)


def emit_one(data: dict[str, Any], output: Format) -> None:
    """Prints one of many items that come over time, as a line of JSON or a document of YAML."""
    if output is Format.JSON:
        sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
    else:
        import yaml

        sys.stdout.write("---\n" + yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    sys.stdout.flush()


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Sequence[str] = (),
    empty: str = "",
    less: Sequence[str] = (),
) -> Any:
    """Returns a plain table. Cells are rich Text or any value. Long ones fold and are never cut; ids stay on one line.

    empty: the message if there are no rows; then None is returned.
    less: columns that a narrow terminal leaves out, the first ones first.
    """
    from rich.table import Table

    if not rows and empty:
        note(empty)
        return None
    left_out = _too_many(columns, rows, less, stdout().width) if less else set()
    if left_out:
        rows = [[cell for name, cell in zip(columns, row, strict=True) if name not in left_out] for row in rows]
        columns = [name for name in columns if name not in left_out]

    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        justify: Any = "right" if name in right else "left"
        made.add_column(name, justify=justify, overflow="fold", no_wrap=name in ID_COLUMNS)
    for row in rows:
        made.add_row(*(cell if hasattr(cell, "style") else clean(str(cell)) for cell in row))
    return made


def table_of(items: Sequence[T], columns: Columns[T], **options: Any) -> Any:
    """Returns a table with a row for each item. columns: what each column shows of it. The options are `table`'s."""
    rows = [[make(item) for make in columns.values()] for item in items]
    return table(list(columns), rows, **options)


def _too_many(columns: Sequence[str], rows: Sequence[Sequence[Any]], less: Sequence[str], width: int) -> set[str]:
    """Returns the columns to leave out so that the rest fits the width, as far as `less` allows."""
    needed = {
        name: max(len(name), *(len(str(row[number])) for row in rows)) + 2 if rows else 0
        for number, name in enumerate(columns)
    }
    out: set[str] = set()
    for name in less:
        if sum(size for other, size in needed.items() if other not in out) <= width:
            break
        out.add(name)
    return out


def some(number: int, what: str, whats: str = "") -> str:
    """Returns `1 step`, `2 steps`."""
    return f"{number:,} {what if number == 1 else whats or what + 's'}"


STATUS_STYLE: Final = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "retrying": "yellow",
    "paused": "yellow",
    "queued": "yellow",
    "waiting": "magenta",
    "outcome_unknown": "red",
    "skipped": "dim",
    "pending": "dim",
}


def status_text(status: str) -> Any:
    """Returns a status in its colour."""
    from rich.text import Text

    return Text(status, style=STATUS_STYLE.get(status, ""))


def money(nano: int) -> str:
    """Returns an amount of nano-USD for people."""
    from agentflow_common.money import display

    return display(nano)


def when(ms: int) -> str:
    """Returns a local time to the second; `-` for an event that has not happened."""
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S") if ms else "-"


def duration(ms: float) -> str:
    """Returns a duration: `18 ms`, `1.24 s`, `2 m 05 s`, `3 h 07 m`."""
    if ms < 1000:
        return f"{ms:.0f} ms" if ms >= 10 or ms == int(ms) else f"{ms:.1f} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} m"


def counts(values: dict[str, int]) -> str:
    """Returns `EMAIL 2, IBAN 1`, or `none`."""
    return ", ".join(f"{name} {number}" for name, number in sorted(values.items())) or "none"
