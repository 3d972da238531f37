"""`agentctl retention`: how long finished runs stay in the log before they live in the archive alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl.display.output import Format, Output, emit, when
from agentctl.failures import CliError
from agentctl.session import open_client, remote

if TYPE_CHECKING:
    from agentflow_sdk import Retention

app = typer.Typer(no_args_is_help=True, help="How long finished runs stay in the log; then the archive has them.")
_UNIT_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_KEEP: Final = re.compile(r"(\d{1,9})\s*([smhdw])\Z")


def keep_ms(text: str) -> int:
    """`7d`, `12h`, `forever` as ms; 0 is for ever."""
    word = text.strip().lower()
    if word in {"forever", "0"}:
        return 0
    match = _KEEP.match(word)
    if word.startswith("-"):
        raise CliError(
            f"{text!r} is negative: a run can't leave the log before it has ended", fix="write 7d, 12h, or forever"
        )
    if match is None or not int(match[1]):
        raise CliError(f"{text!r} is not a retention", fix="write 7d, 12h, 90m, 2w, or forever")
    return int(match[1]) * _UNIT_MS[match[2]]


def _text(ms: int) -> str:
    if not ms:
        return "for ever"
    unit = next(unit for unit in ("d", "h", "m", "s") if ms % _UNIT_MS[unit] == 0 or unit == "s")
    return f"{ms // _UNIT_MS[unit]}{unit}"


@app.command()
@remote
def get(output: Output = Format.TABLE) -> None:
    """Show the retention, and how far archiving and purging have come."""
    with open_client() as client:
        found = client.admin.get_retention()
    emit(found.to_dict(), output, lambda: _fields(found))


@app.command("set", context_settings={"ignore_unknown_options": True})  # so that -5d is told of as what it is
@remote
def set_(
    keep: Annotated[str, typer.Argument(help="7d, 12h, 90m, 2w, or forever.", show_default=False)],
    output: Output = Format.TABLE,
) -> None:
    """Change the retention, live and for all orgs (permission `operator`)."""
    wanted = keep_ms(keep)
    with open_client() as client:
        found = client.admin.set_retention(wanted)
    emit(found.to_dict(), output, lambda: _fields(found))


def _fields(found: Retention) -> Any:
    from agentctl.display import render

    lost = f"runs purged between {found.lost_from_sequence:,} and {found.lost_to_sequence:,} are in no archive"
    pairs: list[tuple[str, Any]] = [
        ("finished runs stay", _text(found.keep_ms)),
        ("set by", f"{found.set_by}, {when(found.set_at)}" if found.set_by else "the trace service's setting"),
        ("archived runs", f"{found.archived_runs:,}"),
        ("waiting runs", f"{found.waiting_runs:,}" + (f" ({found.waiting_for})" if found.waiting_for else "")),
        ("last look", when(found.swept_at)),
        ("the log holds", f"{found.log_messages:,} messages, {found.log_bytes:,} bytes"),
        ("archive reaches", f"sequence {found.archived_to_sequence:,}"),
        ("lost", lost if found.lost_to_sequence else ""),
    ]
    return render.fields(pairs)
