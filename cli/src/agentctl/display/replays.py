"""Replays as people read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from agentctl.display.output import some

if TYPE_CHECKING:
    from agentflow_sdk import TraceReplay

Replayed = Sequence[tuple[str, "TraceReplay | str"]]
SHOWN_MAX: Final = 20
VALUE_CHARS: Final = 100
_CAUSES: Final = {
    "missing": "the log has a decision that is not taken now",
    "extra": "a decision is taken now that the log does not have",
    "type": "another decision is taken now",
    "fields": "the decision has other fields now",
    "state": "the states differ",
    "engine_error": "the engine fails now",
}


def one(replay: Mapping[str, Any]) -> str:
    """Returns the lines about one replay."""
    found = replay.get("divergence")
    counted = f"{some(replay.get('decisions', 0), 'decision')} in {some(replay.get('turns', 0), 'turn')}"
    events = some(replay.get("events", 0), "event")
    name = f"{replay['run_id']} ({replay.get('workflow', '')})"
    if not found:
        lines = [f"{name}: the same. {counted}, {events}", f"state {replay.get('state_hash', '')[:16]}"]
        hashed = some(replay.get("hashed", 0), "sequence")
        lines.append(f"the state hash is identical at {hashed}")
    else:
        lines = [f"{name}: diverges at sequence {found['sequence']}, after {counted}", *_divergence(found)]
    for field, text in (
        ("held_turns", "steps waited for room or for the end of a pause"),
        ("rehosted", "the scheduler had read the run from the log"),
        ("partial_turns", "the append was interrupted"),
    ):
        if replay.get(field):
            lines.append(f"{some(replay[field], 'turn')}: {text}")
    return "\n".join(lines)


def _divergence(found: Mapping[str, Any]) -> list[str]:
    lines = [f"cause     {found.get('cause', '')}: {_CAUSES.get(found.get('cause', ''), '')}"]
    lines += [f"step      {found['step']}"] if found.get("step") else []
    lines.append(f"expected  {found.get('expected_type') or 'nothing'}")
    lines.append(f"decided   {found.get('decided_type') or 'nothing'}")
    lines += [f"error     {found['error']}"] if found.get("error") else []
    lines += [
        f"  {part['path']}: {_short(part.get('expected'))} -> {_short(part.get('decided'))}"
        for part in found.get("differences") or ()
    ]
    return lines


def _short(text: str | None) -> str:
    return "(absent)" if not text else text if len(text) <= VALUE_CHARS else text[:VALUE_CHARS] + "..."


def report(found: Replayed) -> dict[str, Any]:
    """Returns the numbers about many replays, and the place of each divergence."""
    diverged = [(run, one) for run, one in found if not isinstance(one, str) and one.divergence is not None]
    failed = [(run, one) for run, one in found if isinstance(one, str)]
    done = [one for _, one in found if not isinstance(one, str)]
    return {
        "replayed": len(done),
        "same": len(done) - len(diverged),
        "diverged": len(diverged),
        "not_replayed": len(failed),
        "events": sum(one.events for one in done),
        "decisions": sum(one.decisions for one in done),
        "causes": dict(Counter(_kind(one) for _, one in diverged).most_common()),
        "divergences": [
            {"run_id": run, "workflow": one.workflow, "sequence": one.divergence.sequence, "cause": _kind(one)}
            for run, one in diverged
            if one.divergence is not None
        ],
        "errors": [{"run_id": run, "error": error} for run, error in failed],
    }


def _kind(one: TraceReplay) -> str:
    found = one.divergence
    if found is None:
        return ""
    fields = ", ".join(part.path for part in found.differences[:3])
    return f"{found.cause} {found.expected_type or found.decided_type}" + (f": {fields}" if fields else "")


def report_table(report: Mapping[str, Any], found: Replayed) -> str:
    """Returns the report as lines."""
    lines = [
        f"{some(len(found), 'run')} with {some(report['decisions'], 'decision')}",
        f"{report['same']:,} the same, {report['diverged']:,} diverged, {report['not_replayed']:,} not replayed",
    ]
    lines += [f"{count:6,}  {cause}" for cause, count in report["causes"].items()]
    lines += [
        f"{part['run_id']}  {part['workflow']}  sequence {part['sequence']}  {part['cause']}"
        for part in report["divergences"][:SHOWN_MAX]
    ]
    lines += [f"{part['run_id']}  {part['error']}" for part in report["errors"][:SHOWN_MAX]]
    return "\n".join(lines)
