"""`agentctl dead`: messages that a service could not use."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl import values
from agentctl.display import paging
from agentctl.display.output import Format, Output, clean, emit, note, table, when
from agentctl.failures import FAILED
from agentctl.session import open_client, remote, sign

if TYPE_CHECKING:
    from agentflow_sdk import DeadLetter, DeadLetterChanges, DeadLetterOutcome

app = typer.Typer(no_args_is_help=True, help="Dead letters: look at them, tell them again, purge them.")

Sequences = Annotated[
    list[int] | None, typer.Argument(help="As `dead list` shows them.", show_default=False, min=1, max=2**63 - 1)
]
All = Annotated[bool, typer.Option("--all", help="Every letter that you may see.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, it is only said what would be done.")]
SHOWN_MAX: Final = 20
_CHOICE: Final = {
    "origin": "Only from this service.",
    "reason": "Only with this reason.",
    "run": "Only of this run.",
    "since": "Only buried since: 1h, 2d, or a date.",
    "until": "Only buried before: 1h (ago), 2d, or a date.",
}

_OTHER: Final = {"since": ("--start",), "until": ("--end",)}


def choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options that choose letters; it gets them as one argument, `chosen`, for the SDK."""

    @functools.wraps(command)
    def wrapper(**kwargs: Any) -> Any:
        origin, reason, run, since, until = (kwargs.pop(name) for name in _CHOICE)
        chosen = {
            "origin": origin,
            "reason": reason,
            "run_id": run,
            "after_ms": values.parse_time(since) if since else 0,
            "before_ms": values.parse_time(until) if until else 0,
        }
        return command(chosen=chosen, **kwargs)

    added = {
        name: (Annotated[str, typer.Option(f"--{name}", *_OTHER.get(name, ()), help=text, show_default=False)], "")
        for name, text in _CHOICE.items()
    }
    sign(wrapper, command, added, hidden="chosen")
    return wrapper


@app.command("list")
@remote
@choosing
def list_(
    chosen: dict[str, Any],
    limit: paging.Limit = 50,
    everything: paging.All = False,
    page_token: paging.PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """List dead letters, oldest first."""
    with open_client() as client:
        found, token = paging.collect(
            lambda size, at: client.admin.list_dead_letters(limit=size, page_token=at, **chosen),
            limit,
            everything,
            page_token,
        )
    emit([_plain(letter) for letter in found], output, lambda: _table(found))
    paging.closing(len(found), token)


@app.command()
@remote
def get(
    sequence: Annotated[int, typer.Argument(help="As `dead list` shows it.", show_default=False, min=1, max=2**63 - 1)],
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the body; needs --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why you need the body; kept in the audit log.", show_default=False)] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show a dead letter. Its body may hold private data and needs --reveal."""
    from agentctl.display import render

    why = values.reveal_reason(reveal, reason)
    with open_client() as client:
        letter = client.admin.get_dead_letter(sequence, reveal=reveal, reason=why)
    pairs: list[tuple[str, Any]] = [
        ("sequence", str(letter.sequence)),
        ("buried", when(letter.buried_at)),
        ("origin", letter.origin),
        ("reason", letter.reason),
        ("subject", letter.subject),
        ("log sequence", str(letter.origin_sequence)),
        ("run", letter.run_id),
        ("size", f"{letter.size_bytes:,} bytes"),
        ("replays", str(letter.replays)),
        ("replayable", "yes" if letter.replayable else "no: the scheduler takes its decisions again by itself"),
        ("body", clean(letter.body or "") + (" ... (cut)" if letter.truncated else "") if reveal else ""),
    ]
    emit(letter.to_dict(), output, lambda: render.fields(pairs))


@app.command()
@remote
@choosing
def replay(
    chosen: dict[str, Any],
    sequences: Sequences = None,
    everything: All = False,
    body: Annotated[
        str,
        typer.Option(help="The event as you repaired it (JSON or @file), for one letter; permission `operator`."),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Tell the facts in dead letters again, each exactly once. Letters that are named are told at once; a filter is
    only shown first, and needs --yes."""
    only_say = dry_run or not (yes or sequences)
    repaired = values.text_or_file(body) if body else ""

    def call(client: Any, after: int) -> DeadLetterChanges:
        made: DeadLetterChanges = client.admin.replay_dead_letters(
            sequences or (), after=after, dry_run=only_say, repaired_body=repaired, all=everything, **chosen
        )  # fmt: skip
        return made

    _change(call, only_say, output)


@app.command()
@remote
@choosing
def purge(
    chosen: dict[str, Any],
    sequences: Sequences = None,
    everything: All = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Erase dead letters for good. Without --yes it is only shown which."""

    def call(client: Any, after: int) -> DeadLetterChanges:
        made: DeadLetterChanges = client.admin.purge_dead_letters(
            sequences or (), after=after, dry_run=not yes, all=everything, **chosen
        )
        return made

    _change(call, not yes, output)


def _change(call: Callable[[Any, int], DeadLetterChanges], only_say: bool, output: Format) -> None:
    """Calls until no letter is left, shows what became of them; exit code 1 if one was refused."""
    outcomes: list[DeadLetterOutcome] = []
    with open_client() as client:
        while True:
            made = call(client, outcomes[-1].letter.sequence if outcomes else 0)
            outcomes.extend(made.outcomes)
            if not made.more or not made.outcomes:
                break
            note(f"{len(outcomes):,} letters so far")
    plain = [
        {**_plain(o.letter), "outcome": o.outcome, "replayed_as": o.sequence, "problem": o.problem} for o in outcomes
    ]
    emit(plain, output, lambda: _outcomes(outcomes))
    counted = {name: sum(o.outcome == name for o in outcomes) for name in dict.fromkeys(o.outcome for o in outcomes)}
    said = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counted.items()) or "no letter matches"
    note(said + ("; nothing was changed: add --yes to do it" if only_say and outcomes else ""))
    if counted.get("refused"):
        raise typer.Exit(FAILED)


def _plain(letter: DeadLetter) -> dict[str, Any]:
    return {name: value for name, value in letter.to_dict().items() if name not in {"body", "truncated"}}


def _table(letters: list[DeadLetter]) -> Any:
    rows = [
        (
            str(item.sequence),
            when(item.buried_at),
            item.origin,
            item.reason,
            item.run_id or "-",
            f"{item.size_bytes:,}",
            str(item.replays),
            item.subject,
        )
        for item in letters
    ]
    columns = ("SEQ", "BURIED", "ORIGIN", "REASON", "RUN", "BYTES", "REPLAYS", "SUBJECT")
    less = ("SUBJECT", "BYTES", "REPLAYS")
    return table(columns, rows, right=("SEQ", "BYTES", "REPLAYS"), empty="there are no dead letters", less=less)


def _outcomes(outcomes: list[DeadLetterOutcome]) -> Any:
    rows = [
        (str(o.letter.sequence), o.outcome.replace("_", " "), o.letter.origin, o.letter.reason, o.letter.run_id or "-",
         o.problem)
        for o in outcomes[:SHOWN_MAX]
    ]  # fmt: skip
    if len(outcomes) > SHOWN_MAX:
        rows.append(("...", f"and {len(outcomes) - SHOWN_MAX:,} more", "", "", "", ""))
    return table(("SEQ", "OUTCOME", "ORIGIN", "REASON", "RUN", "PROBLEM"), rows, right=("SEQ",))
