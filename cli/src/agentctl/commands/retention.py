"""`agentctl retention`: how long finished runs stay in the log before they are in the archive alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

from agentctl.display import render
from agentctl.display.output import Format, Output, emit, when
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.options import argument
from agentctl.values import UNIT_MS

if TYPE_CHECKING:
    from agentflow_sdk import Client, Retention

app = RemoteGroup("retention", "How long finished runs stay in the log; then the archive has them.")
_KEEP: Final = re.compile(r"(\d{1,9})\s*([smhdw])\Z")


def keep_ms(text: str) -> int:
    """Returns the milliseconds of `7d` or `12h`; 0 stands for `forever`."""
    plain = text.strip().lower()
    if plain in {"forever", "0"}:
        return 0
    match = _KEEP.match(plain)
    if plain.startswith("-"):
        message = f"{text!r} is negative: a run can't leave the log before it has ended"
        raise CliError(message, fix="write 7d, 12h, or forever")
    if match is None or not int(match[1]):
        raise CliError(f"{text!r} is not a retention", fix="write 7d, 12h, 90m, 2w, or forever")
    return int(match[1]) * UNIT_MS[match[2]]


def _text(ms: int) -> str:
    if not ms:
        return "forever"
    unit = next(unit for unit in ("d", "h", "m", "s") if ms % UNIT_MS[unit] == 0 or unit == "s")
    return f"{ms // UNIT_MS[unit]}{unit}"


@app.command()
def get(client: Client, output: Output = Format.TABLE) -> None:
    """Show the retention, and how far archiving and purging have come."""
    _show(client.admin.get_retention(), output)


@app.command("set", context_settings={"ignore_unknown_options": True})  # so that -5d gets its own message
def set_(
    client: Client, keep: Annotated[str, argument("7d, 12h, 90m, 2w, or forever.")], output: Output = Format.TABLE
) -> None:
    """Change the retention, live and for all orgs (permission `operator`)."""
    _show(client.admin.set_retention(keep_ms(keep)), output)


def _show(found: Retention, output: Format) -> None:
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
    emit(found.to_dict(), output, lambda: render.fields(pairs))
