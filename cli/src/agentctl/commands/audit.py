"""`agentctl audit`: who saw originals, what was replaced, what an administrator changed."""

from __future__ import annotations

import hmac
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl import runs, values
from agentctl.display import render
from agentctl.display.output import Columns, Format, Output, clean, counts, emit, note, table, table_of, when
from agentctl.failures import FAILED, CliError
from agentctl.groups import RemoteGroup
from agentctl.listing import Listing, listed
from agentctl.options import Since, Until, argument, option

if TYPE_CHECKING:
    from agentflow_sdk import AuditEntry, AuditProblem, Client

app = RemoteGroup("audit", "Read and verify the audit log (permission `auditor` or `admin`).")

# docs/privacy.md says what each action means
ACTIONS: Final = (
    "restore",
    "protect",
    "adopt",
    "block",
    "dead_replay",
    "dead_purge",
    "budget.created",
    "budget.changed",
    "budget.deleted",
    "audit_list",
    "audit_get",
    "audit_verify",
)
_MARK: Final = re.compile(r"([0-9]{1,19}):([0-9a-f]{64})\Z")


@app.command("list")
@listed(50)
def list_(
    client: Client,
    actor: Annotated[str, option("Only by this actor, as the list shows it.")] = "",
    action: Annotated[str, option(f"Only this action: {', '.join(ACTIONS)}.")] = "",
    run: Annotated[str, option("Only about this run: its id, the beginning of it, or `last`.")] = "",
    since: Since = "",
    until: Until = "",
) -> Listing[AuditEntry]:
    """List audit entries, newest first."""
    if action:
        _require_known(action)
    after_ms, before_ms = values.parse_time(since), values.parse_time(until)
    about = runs.find(client, run) if run else ""
    return lambda size, at: client.audit.list(
        actor=actor,
        action=action,
        run_id=about,
        after_ms=after_ms,
        before_ms=before_ms,
        limit=size,
        page_token=at,
    ), _table


@app.command()
def get(
    client: Client,
    sequence: Annotated[int, argument("As `audit list` shows it.", min=1)],
    output: Output = Format.TABLE,
) -> None:
    """Show one audit entry."""
    entry = client.audit.get(sequence)
    pairs: list[tuple[str, Any]] = [
        ("sequence", str(entry.sequence)),
        ("at", when(entry.at)),
        ("action", entry.action),
        ("actor", entry.actor),
        ("run", entry.run_id),
        ("step", entry.step),
        ("reason", clean(entry.reason)),
        ("values", counts(entry.counts)),
    ]
    emit(entry.to_dict(), output, lambda: render.fields(pairs))


@app.command()
def verify(
    client: Client,
    against: Annotated[str, option("SEQUENCE:DIGEST that an earlier verify printed.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Check that the audit log is whole. The exit code is 1 if it is not.

    Prints SEQUENCE:DIGEST over all entries. Keep it outside of this machine. A later `--against` with it proves that
    no entry up to there was changed, removed or added since.
    """
    mark = _MARK.match(against.strip()) if against else None
    if against and mark is None:
        fix = "pass the line that `agentctl audit verify` printed, for example 120:3f5a..."
        raise CliError(f"--against {against}: not SEQUENCE:DIGEST", fix=fix)
    problems: list[AuditProblem] = []
    entries, after, digest = 0, 0, ""
    marked = "00" * 32 if mark and not int(mark[1]) else ""
    for stop in (int(mark[1]), 0) if mark else (0,):
        while True:
            done = client.audit.verify(after_sequence=after, after_digest=digest if after else "", to_sequence=stop)
            entries, after, digest = entries + done.entries, done.last_sequence, done.digest
            problems.extend(done.problems)
            if not done.more:
                break
            note(f"{entries:,} entries so far")
        if stop and after == stop:
            marked = digest
    if mark is not None and not hmac.compare_digest(marked, mark[2]):
        from agentflow_sdk import AuditProblem

        problems.append(AuditProblem(int(mark[1]), "the entries up to here are not those of the earlier verify"))
    plain = {
        "whole": not problems,
        "entries": entries,
        "mark": f"{after}:{digest}",
        "problems": [item.to_dict() for item in problems],
    }
    emit(plain, output, lambda: _verified(entries, f"{after}:{digest}", problems, bool(mark)))
    if problems:
        raise typer.Exit(FAILED)


def _require_known(action: str) -> None:
    from agentflow_common.hints import did_you_mean

    if action not in ACTIONS:
        fix = did_you_mean(action, ACTIONS, f"use {', '.join(ACTIONS)}")
        raise CliError(f"--action: unknown action {action!r}", fix=fix)


def _table(found: list[AuditEntry]) -> Any:
    columns: Columns[AuditEntry] = {
        "SEQ": lambda entry: entry.sequence,
        "AT": lambda entry: when(entry.at),
        "ACTION": lambda entry: entry.action,
        "ACTOR": lambda entry: entry.actor,
        "RUN": lambda entry: entry.run_id,
        "STEP": lambda entry: entry.step,
        "VALUES": lambda entry: counts(entry.counts),
        "REASON": lambda entry: entry.reason,
    }
    less = ("STEP", "REASON", "VALUES", "RUN")  # `audit get` has these; who did what is left
    return table_of(found, columns, empty="no audit entry matches", less=less)


def _verified(entries: int, mark: str, problems: list[AuditProblem], compared: bool) -> Any:
    if problems:
        return table(("SEQ", "PROBLEM"), [(str(item.sequence or ""), item.problem) for item in problems])
    same = "; unchanged since the earlier verify" if compared else ""
    note(f"{entries:,} entries, no problem{same}; keep this for --against:")
    sys.stdout.write(mark + "\n")  # in one line, whatever the width
    return None
