"""`agentctl dead`: messages that a service could not use."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl import values
from agentctl.display import render
from agentctl.display.output import Columns, Format, Output, clean, emit, note, table_of, when
from agentctl.failures import FAILED
from agentctl.groups import RemoteGroup
from agentctl.listing import Listing, listed
from agentctl.options import DryRun, RevealReason, argument, flag, moment, option
from agentctl.session import sign

if TYPE_CHECKING:
    from agentflow_sdk import Client, DeadLetter, DeadLetterChanges, DeadLetterOutcome

app = RemoteGroup("dead", "Dead letters: look at them, replay them, purge them.")

SEQUENCE_MAX: Final = 2**63 - 1
Sequences = Annotated[list[int] | None, argument("As `dead list` shows them.", min=1, max=SEQUENCE_MAX)]
All = Annotated[bool, flag("Every letter that you may see.", "--all")]
Yes = Annotated[bool, flag("Do it; without this, only show what would be done.", "--yes")]
SHOWN_MAX: Final = 20
_CHOICE: Final = {
    "origin": option("Only from this service.", "--origin"),
    "reason": option("Only with this reason.", "--reason"),
    "run": option("Only about this run.", "--run"),
    "since": moment("Only buried since: 1h, 2d, or a date.", "--since", "--start"),
    "until": moment("Only buried before: 1h (ago), 2d, or a date.", "--until", "--end"),
}


def choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options that choose letters; it gets them as one argument, `chosen`, for the SDK."""

    @functools.wraps(command)
    def wrapper(**kwargs: Any) -> Any:
        origin, reason, run, since, until = (kwargs.pop(name) for name in _CHOICE)
        chosen = {
            "origin": origin,
            "reason": reason,
            "run_id": run,
            "after_ms": values.parse_time(since),
            "before_ms": values.parse_time(until),
        }
        return command(chosen=chosen, **kwargs)

    added = {name: (Annotated[str, declared], "") for name, declared in _CHOICE.items()}
    sign(wrapper, command, added, hidden=("chosen", "client"))
    return wrapper


def _plain(letter: DeadLetter) -> dict[str, Any]:
    return {name: value for name, value in letter.to_dict().items() if name not in {"body", "truncated"}}


@app.command("list")
@choosing
@listed(50, _plain)
def list_(client: Client, chosen: dict[str, Any]) -> Listing[DeadLetter]:
    """List dead letters, oldest first."""
    return lambda size, at: client.admin.list_dead_letters(limit=size, page_token=at, **chosen), _table


@app.command()
def get(
    client: Client,
    sequence: Annotated[int, argument("As `dead list` shows it.", min=1, max=SEQUENCE_MAX)],
    reveal: Annotated[bool, flag("Show the body; needs --reason.", "--reveal")] = False,
    reason: RevealReason = "",
    output: Output = Format.TABLE,
) -> None:
    """Show a dead letter. Its body may contain private data and needs --reveal."""
    letter = client.admin.get_dead_letter(sequence, reveal=reveal, reason=values.reveal_reason(reveal, reason))
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
        ("replayable", "yes" if letter.replayable else "no: the scheduler makes its decisions again by itself"),
        ("body", clean(letter.body or "") + (" ... (cut)" if letter.truncated else "") if reveal else ""),
    ]
    emit(letter.to_dict(), output, lambda: render.fields(pairs))


@app.command()
@choosing
def replay(
    client: Client,
    chosen: dict[str, Any],
    sequences: Sequences = None,
    everything: All = False,
    body: Annotated[
        str, typer.Option(help="The event as you repaired it (JSON or @file), for one letter; permission `operator`.")
    ] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Append the facts in dead letters to the log again, each exactly once.

    Letters given by number are replayed immediately. Letters found by a filter are only shown first, and need --yes.
    """
    only_show = dry_run or not (yes or sequences)
    chosen |= {"all": everything, "repaired_body": values.text_or_file(body)}
    _change(client.admin.replay_dead_letters, sequences, chosen, only_show, output)


@app.command()
@choosing
def purge(
    client: Client,
    chosen: dict[str, Any],
    sequences: Sequences = None,
    everything: All = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Delete dead letters forever. Without --yes they are only shown."""
    _change(client.admin.purge_dead_letters, sequences, chosen | {"all": everything}, not yes, output)


def _change(
    change: Callable[..., DeadLetterChanges],
    sequences: list[int] | None,
    chosen: dict[str, Any],
    only_show: bool,
    output: Format,
) -> None:
    """Calls until no letter is left, and shows the outcomes. Exits with 1 if a letter was refused."""
    outcomes: list[DeadLetterOutcome] = []
    while True:
        after = outcomes[-1].letter.sequence if outcomes else 0
        made = change(sequences or (), after=after, dry_run=only_show, **chosen)
        outcomes.extend(made.outcomes)
        if not made.more or not made.outcomes:
            break
        note(f"{len(outcomes):,} letters so far")
    plain = [
        {**_plain(o.letter), "outcome": o.outcome, "replayed_as": o.sequence, "problem": o.problem} for o in outcomes
    ]
    emit(plain, output, lambda: _outcomes(outcomes))
    counted = Counter(o.outcome for o in outcomes)
    said = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counted.items()) or "no letter matches"
    note(said + ("; nothing was changed: add --yes to do it" if only_show and outcomes else ""))
    if counted["refused"]:
        raise typer.Exit(FAILED)


def _table(letters: list[DeadLetter]) -> Any:
    columns: Columns[DeadLetter] = {
        "SEQ": lambda letter: letter.sequence,
        "BURIED": lambda letter: when(letter.buried_at),
        "ORIGIN": lambda letter: letter.origin,
        "REASON": lambda letter: letter.reason,
        "RUN": lambda letter: letter.run_id or "-",
        "BYTES": lambda letter: f"{letter.size_bytes:,}",
        "REPLAYS": lambda letter: letter.replays,
        "SUBJECT": lambda letter: letter.subject,
    }
    numbers = ("SEQ", "BYTES", "REPLAYS")
    less = ("SUBJECT", "BYTES", "REPLAYS")
    return table_of(letters, columns, right=numbers, empty="there are no dead letters", less=less)


def _outcomes(outcomes: list[DeadLetterOutcome]) -> Any:
    columns: Columns[DeadLetterOutcome] = {
        "SEQ": lambda item: item.letter.sequence,
        "OUTCOME": lambda item: item.outcome.replace("_", " "),
        "ORIGIN": lambda item: item.letter.origin,
        "REASON": lambda item: item.letter.reason,
        "RUN": lambda item: item.letter.run_id or "-",
        "PROBLEM": lambda item: item.problem,
    }
    if len(outcomes) > SHOWN_MAX:
        note(f"the first {SHOWN_MAX} of {len(outcomes):,}:")
    return table_of(outcomes[:SHOWN_MAX], columns, right=("SEQ",))
